"""The listener of a process: health, reflection, rooms that share a contract, draining, and refusals at start."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tenantry.api.lifecycle.v1 import lifecycle_service_pb2 as lifecycle_pb
from tenantry.api.lifecycle.v1 import lifecycle_service_pb2_grpc as lifecycle_grpc
from tenantry.kit import call
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import Unavailable
from tenantry.kit.guard import Limits
from tenantry.kit.server import Listener, OpenRoom, Registry, Room, drain, open_room, until_stopped
from tests.harness.echo import Acts, Echo, Open, WrittenProofs, acme, houses, mesh_of
from tests.harness.protos import echo_pb2 as pb
from tests.harness.protos import echo_pb2_grpc
from tests.harness.revocations import nobody_revoked

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def open_house() -> AsyncIterator[Open]:
    async with houses("network") as opener:
        yield opener


@pytest.fixture(params=["network", "inprocess"])
async def open_any_house(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    async with houses(request.param) as opener:
        yield opener


async def health_of(channel: aio.Channel, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_health_is_told_to_anybody_by_room_and_by_contract(open_house: Open) -> None:
    house = await open_house()
    async with aio.insecure_channel(f"127.0.0.1:{house.listener.port}") as channel:
        for service in ("", "echo", "tenantry.api.echo.v1.EchoService"):
            assert await health_of(channel, service) == SERVING


async def test_a_listener_is_not_serving_before_it_says_so() -> None:
    servicers = [(echo_pb2_grpc.add_EchoServiceServicer_to_server, Echo(Acts()))]
    listener = Listener(
        [open_room(Room("echo", servicers), WrittenProofs(), Limits(), nobody_revoked())], "127.0.0.1:0"
    )
    await listener.start()
    async with aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
        assert await health_of(channel, "echo") == NOT_SERVING
        await listener.serving()
        assert await health_of(channel, "echo") == SERVING
    await listener.drain(0)


async def test_contracts_can_be_listed(open_house: Open) -> None:
    house = await open_house()
    async with aio.insecure_channel(f"127.0.0.1:{house.listener.port}") as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast(Any, channel))
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        names = [s.name async for a in stub.ServerReflectionInfo(iter([ask])) for s in a.list_services_response.service]
    assert "tenantry.api.echo.v1.EchoService" in names


async def test_a_running_call_ends_well_while_the_room_drains(open_any_house: Open) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def once(request: Any, context: Any) -> Any:
        begun.set()
        await end.wait()
        return pb.EchoResponse(text="done")

    house = await open_any_house(Acts(once))
    with call.entered(acme()):
        running = asyncio.ensure_future(house.stub.EchoOnce(pb.EchoRequest()))
        await begun.wait()
        draining = asyncio.ensure_future(house.listener.drain(5))
        await asyncio.sleep(0)
        end.set()
        assert (await running).text == "done"
    await asyncio.wait_for(draining, 3)


async def test_a_call_that_outlasts_the_grace_ends_as_unavailable(open_any_house: Open) -> None:
    begun = asyncio.Event()

    async def many(request: Any, context: Any) -> AsyncIterator[Any]:
        yield pb.EchoResponse()
        begun.set()
        await asyncio.Event().wait()

    house = await open_any_house(Acts(many=many))
    with call.entered(acme()):
        stream = house.stub.EchoMany(pb.EchoRequest())
        await stream.read()
        await begun.wait()
        began = time.monotonic()
        draining = asyncio.ensure_future(house.listener.drain(0.2))
        with pytest.raises(Unavailable) as gone:
            await stream.read()
    assert gone.value.message == "the service is stopping"
    assert 0.15 < time.monotonic() - began < 2
    await asyncio.wait_for(draining, 3)


async def test_a_feed_between_services_ends_at_once_when_the_room_drains(open_any_house: Open) -> None:
    async def many(request: Any, context: Any) -> AsyncIterator[Any]:
        yield pb.EchoResponse()
        await asyncio.Event().wait()

    house = await open_any_house(Acts(many=many))
    feed = house.stub.Feed(pb.EchoRequest())
    await feed.read()
    began = time.monotonic()
    draining = asyncio.ensure_future(house.listener.drain(5))
    with pytest.raises(Unavailable):
        await feed.read()
    await draining
    assert time.monotonic() - began < 2


async def test_what_a_running_call_needs_is_still_served_while_rooms_drain() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def once(request: Any, context: Any) -> Any:
        if request.text == "inner":
            return pb.EchoResponse(text="settled")
        begun.set()
        await end.wait()
        return await house.stub.Gossip(pb.EchoRequest(text="inner"))

    async with houses("inprocess") as open_house:
        house = await open_house(Acts(once))
        with call.entered(acme()):
            running = asyncio.ensure_future(house.stub.EchoOnce(pb.EchoRequest()))
            await begun.wait()
            draining = asyncio.ensure_future(house.listener.drain(5))
            await asyncio.sleep(0.05)
            end.set()
            assert (await running).text == "settled"
        await draining


async def test_rooms_take_calls_until_those_of_all_have_ended_and_what_they_owe_is_done() -> None:
    begun, end = asyncio.Event(), asyncio.Event()
    owed: list[str] = []
    registry = Registry()
    mesh = Mesh("gateway", mesh_of({}), registry, lambda: "gateway", SystemClock())
    quiet = open_room(
        Room("echo", [(echo_pb2_grpc.add_EchoServiceServicer_to_server, Echo(Acts()))]),
        WrittenProofs(),
        Limits(),
        nobody_revoked(),
    )
    needed: Any = echo_pb2_grpc.EchoServiceStub(mesh.channel("echo"))

    async def once(request: Any, context: Any) -> Any:
        begun.set()
        await end.wait()
        return await needed.Gossip(pb.EchoRequest(text="needed"))

    async def settle() -> None:
        owed.append((await needed.Gossip(pb.EchoRequest(text="settled"))).text)

    servicers = [(echo_pb2_grpc.add_EchoServiceServicer_to_server, Echo(Acts(once)))]
    busy = open_room(Room("busy", servicers, afterwards=settle), WrittenProofs(), Limits(), nobody_revoked())
    registry.add(quiet)
    registry.add(busy)
    asked: Any = echo_pb2_grpc.EchoServiceStub(mesh.channel("busy"))
    with call.entered(acme()):
        running = asyncio.ensure_future(asked.EchoOnce(pb.EchoRequest()))
        await begun.wait()
        draining = asyncio.ensure_future(drain([quiet, busy], 5))
        await asyncio.sleep(0.05)
        end.set()
        assert (await running).text == "needed"
    await asyncio.wait_for(draining, 3)
    assert owed == ["settled"]
    with call.entered(acme()), pytest.raises(Unavailable):
        await needed.EchoOnce(pb.EchoRequest())


async def test_a_drained_room_takes_nothing_new(open_any_house: Open) -> None:
    house = await open_any_house()
    await house.listener.drain(0)
    with call.entered(acme()), pytest.raises(Unavailable):
        await house.stub.EchoOnce(pb.EchoRequest())


async def test_a_room_that_opens_in_time_is_reached_by_the_second_attempt() -> None:
    async with houses("inprocess") as open_house:
        house = await open_house()
        house.registry.remove("echo")
        asyncio.get_running_loop().call_later(0.01, house.registry.add, house.room)
        with call.entered(acme()):
            assert (await house.stub.Echo(pb.EchoRequest(text="hi"))).text == "hi"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_process_in_order(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    waiting = asyncio.ensure_future(until_stopped())
    await asyncio.sleep(0)
    os.kill(os.getpid(), number)
    await asyncio.wait_for(waiting, 2)
    assert signal.getsignal(number) in (before, signal.SIG_DFL, signal.default_int_handler)


class Ruleless(echo_pb2_grpc.RulelessServiceServicer):
    """Answers nothing: it never comes to a call."""

    async def Absent(self, request: Any, context: Any) -> Any: ...

    Audienceless = Scopeless = Callerless = Absent


def test_a_room_with_an_rpc_without_a_rule_is_refused_at_start() -> None:
    servicers = [(echo_pb2_grpc.add_RulelessServiceServicer_to_server, Ruleless())]
    with pytest.raises(LookupError, match="RulelessService/Absent"):
        open_room(Room("ruleless", servicers), WrittenProofs(), Limits(), nobody_revoked())


class Lifecycle(lifecycle_grpc.LifecycleServiceServicer):
    """Says which room it is in."""

    def __init__(self, calls: list[str], room: str) -> None:
        self._calls = calls
        self._room = room

    async def ProvisionTenant(self, request: Any, context: Any) -> Any:
        self._calls.append(self._room)
        return lifecycle_pb.ProvisionTenantResponse()

    async def DeprovisionTenant(self, request: Any, context: Any) -> Any:
        return lifecycle_pb.DeprovisionTenantResponse()


@pytest.mark.parametrize("hosted", [False, True], ids=["network", "inprocess"])
async def test_rooms_that_share_a_contract_and_a_listener_are_told_apart(hosted: bool) -> None:
    calls: list[str] = []
    add = lifecycle_grpc.add_LifecycleServiceServicer_to_server

    def room(name: str) -> OpenRoom:
        return open_room(Room(name, [(add, Lifecycle(calls, name))]), WrittenProofs(), Limits(), nobody_revoked())

    rooms = [room("quota"), room("cache")]
    listener = Listener(rooms, "127.0.0.1:0")
    await listener.start()
    registry = Registry()
    for one in rooms if hosted else ():
        registry.add(one)
    at = f"127.0.0.1:{listener.port}"
    settings = mesh_of({"quota": at, "cache": at})
    mesh = Mesh("tenancy", settings, registry, lambda: "tenancy", SystemClock())
    for name in ("cache", "quota", "cache"):
        stub: Any = lifecycle_grpc.LifecycleServiceStub(mesh.channel(name))
        await stub.ProvisionTenant(lifecycle_pb.ProvisionTenantRequest())
    assert calls == ["cache", "quota", "cache"]
    path = "/tenantry.api.lifecycle.v1.LifecycleService/ProvisionTenant"
    async with aio.insecure_channel(at) as channel:
        with pytest.raises(aio.AioRpcError) as lost:
            await channel.unary_unary(path)(b"", metadata=((call.SERVICE, "tenancy"),))
    assert lost.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await mesh.close()
    await listener.drain(0)


async def test_several_connections_to_one_address_take_turns(open_house: Open) -> None:
    peers: set[str] = set()

    async def once(request: Any, context: Any) -> Any:
        peers.add(context.peer())
        return pb.EchoResponse()

    house = await open_house(Acts(once))
    settings = mesh_of({"echo": f"127.0.0.1:{house.listener.port}"})
    mesh = Mesh("gateway", settings, Registry(), lambda: "gateway", SystemClock(), connections=3)
    stub: Any = echo_pb2_grpc.EchoServiceStub(mesh.channel("echo"))
    with call.entered(acme()):
        for _ in range(6):
            await stub.Echo(pb.EchoRequest())
    assert len(peers) == 3
    await mesh.close()


async def test_a_service_without_an_address_is_unavailable_when_called() -> None:
    settings = mesh_of({})
    mesh = Mesh("gateway", settings, Registry(), lambda: "", SystemClock())
    stub: Any = echo_pb2_grpc.EchoServiceStub(mesh.channel("echo"))
    with pytest.raises(Unavailable, match="no address"):
        await stub.EchoOnce(pb.EchoRequest())
