"""The address for clients, before services of its own process and of others: what goes in and what comes out."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tenantry.api.quota.v1 import call_service_pb2 as call_pb
from tenantry.api.quota.v1 import call_service_pb2_grpc as call_grpc
from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1 import identity_service_pb2_grpc as identity_grpc
from tenantry.kit import call, caller
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.edge import Edge
from tenantry.kit.errors import NotFound, Reason, ResourceExhausted, TenantryError, Unauthenticated, Unavailable
from tenantry.kit.guard import Limits
from tenantry.kit.network import PeerStatus
from tenantry.kit.server import Listener, Registry, Room, open_room
from tenantry.kit.settings import MeshSettings
from tenantry.kit.status import from_rpc_error
from tests.harness.echo import KINDS, Acts, Echo, WrittenProofs
from tests.harness.protos import echo_pb2 as pb
from tests.harness.protos import echo_pb2_grpc
from tests.harness.revocations import nobody_revoked

KEY = (("authorization", "Bearer acme-generate"),)
HELLO = pb.EchoRequest(text="hello", count=3)


class Identity(identity_grpc.IdentityServiceServicer):
    """Knows keys of the form TENANT-SCOPE."""

    async def AuthenticateCaller(self, request: Any, context: Any) -> Any:
        tenant, _, scope = request.credential.partition("-")
        if not scope:
            raise Unauthenticated(Reason.CREDENTIAL_INVALID, "the key is not valid")
        return identity_pb.AuthenticateCallerResponse(assertion=f"{tenant} {scope}", tenant=tenant, tier="pro")

    async def ListSigningKeys(self, request: Any, context: Any) -> Any: ...

    RenewServiceToken = ListSigningKeys

    def WatchRevocations(self, request_iterator: Any, context: Any) -> Any: ...


class Calls(call_grpc.CallServiceServicer):
    """Counts the calls of each tenant; `limited` may not enter."""

    async def AdmitCall(self, request: Any, context: Any) -> Any:
        if caller.current().tenant == "limited":
            limit = [("tenant:limited", "no calls")]
            raise ResourceExhausted(Reason.CALLS_PER_MINUTE, "too many calls", retry_after_s=3.0, violations=limit)
        return call_pb.AdmitCallResponse()


@dataclass
class FrontDesk:
    """A running edge, a client's stub for it, and what the service behind it does."""

    edge: Edge
    stub: Any
    channel: aio.Channel
    acts: Acts
    listener: Listener
    registry: Registry


@pytest.fixture(params=KINDS)
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[FrontDesk]:
    acts = Acts()
    rooms = [
        open_room(room, WrittenProofs(), Limits(), nobody_revoked())
        for room in (
            Room("echo", [(echo_pb2_grpc.add_EchoServiceServicer_to_server, Echo(acts))]),
            Room("tenancy", [(identity_grpc.add_IdentityServiceServicer_to_server, Identity())]),
            Room("quota", [(call_grpc.add_CallServiceServicer_to_server, Calls())]),
        )
    ]
    listener = Listener(rooms[:1], "127.0.0.1:0")
    await listener.start()
    registry = Registry()
    for room in rooms:
        if request.param == "inprocess" or room.name != "echo":
            registry.add(room)
    at = f"127.0.0.1:{listener.port}"
    addresses = {"echo": at, "tenancy": at}
    settings = MeshSettings(listen=at, edge_listen="127.0.0.1:0", addresses=addresses, max_tenant_calls=3)
    mesh = Mesh("gateway", settings, registry, lambda: "gateway", SystemClock())
    edge = Edge(mesh, settings)
    await edge.start()
    async with aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
        yield FrontDesk(edge, echo_pb2_grpc.EchoServiceStub(channel), channel, acts, listener, registry)
    await edge.drain(0.2)
    await mesh.close()
    await listener.drain(0.2)


async def refusal(calling: Any) -> TenantryError:
    with pytest.raises(aio.AioRpcError) as refused:
        await calling
    return from_rpc_error(refused.value)


async def told(uploading: Any) -> Any:
    """The end of a call that streams requests, as the edge told it: grpc.aio's client may make INTERNAL of it."""
    peer = PeerStatus(uploading)
    try:
        return await (gathered(uploading) if hasattr(uploading, "__aiter__") else uploading)
    except aio.AioRpcError as failure:
        raise await peer.behind(failure) from None


async def gathered(stream: Any) -> list[Any]:
    return [message async for message in stream]


async def test_all_four_shapes_are_forwarded(desk: FrontDesk) -> None:
    assert (await desk.stub.Echo(HELLO, metadata=KEY)).text == "hello"
    assert [answer.text async for answer in desk.stub.EchoMany(HELLO, metadata=KEY)] == ["hello0", "hello1", "hello2"]
    assert (await desk.stub.Collect(iter([HELLO, HELLO]), metadata=KEY)).text == "hello,hello"
    assert [answer.text async for answer in desk.stub.Chat(iter([HELLO, HELLO]), metadata=KEY)] == ["hello", "hello"]


async def test_what_the_gateway_may_do_for_a_caller_without_the_scope_the_caller_may_not_do_itself(
    desk: FrontDesk,
) -> None:
    # The contract of Echo lets the gateway in for such a caller.
    refused = await refusal(desk.stub.Echo(HELLO, metadata=(("authorization", "Bearer acme-documents.read"),)))
    assert refused.reason == Reason.SCOPE_MISSING


async def test_a_tenant_that_holds_its_share_of_calls_keeps_nobody_else_out(desk: FrontDesk) -> None:
    begun, end = asyncio.Semaphore(0), asyncio.Event()

    async def once(request: Any, context: Any) -> Any:
        begun.release()
        await end.wait()
        return pb.EchoResponse()

    desk.acts.once = once
    held = [asyncio.ensure_future(desk.stub.Echo(HELLO, metadata=KEY)) for _ in range(3)]
    for _ in held:
        await asyncio.wait_for(begun.acquire(), 5)
    refused = await refusal(desk.stub.Echo(HELLO, metadata=KEY))
    assert refused.reason is Reason.SERVER_BUSY
    other = asyncio.ensure_future(desk.stub.Echo(HELLO, metadata=(("authorization", "Bearer globex-generate"),)))
    await asyncio.wait_for(begun.acquire(), 5)
    end.set()
    await asyncio.gather(*held, other)
    assert (await desk.stub.Echo(HELLO, metadata=KEY)).text == ""


async def test_a_caller_whose_limit_of_calls_is_reached_does_not_enter(desk: FrontDesk) -> None:
    refused = await refusal(desk.stub.Echo(HELLO, metadata=(("authorization", "Bearer limited-echo"),)))
    assert isinstance(refused, ResourceExhausted)
    assert (refused.reason, refused.retry_after_s) == (Reason.CALLS_PER_MINUTE, 3.0)
    assert refused.violations == [("tenant:limited", "no calls")]
    desk.registry.remove("quota")
    away = await refusal(desk.stub.Echo(HELLO, metadata=KEY))
    assert (away.code, away.reason) == ("UNAVAILABLE", Reason.SERVICE_UNAVAILABLE)


async def test_nothing_that_a_client_says_of_itself_goes_in(desk: FrontDesk) -> None:
    seen: list[dict[str, Any]] = []

    async def once(request: Any, context: Any) -> Any:
        seen.append(dict(context.invocation_metadata()))
        return pb.EchoResponse(text=f"{caller.owner().id} {caller.identity()}")

    desk.acts.once = once
    forged = (
        (call.ASSERTION, "globex generate"),
        (call.TENANT, "globex"),
        (call.SERVICE, "tenancy"),
        (call.REQUEST_ID, "mine"),
        (call.TARGET, "quota"),
        ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"),
        ("baggage", "tenant=globex"),
        ("x-else", "1"),
    )
    assert (await desk.stub.Echo(HELLO, metadata=(*KEY, *forged))).text == "acme None"
    assert seen[0][call.ASSERTION] == "acme generate"
    assert seen[0][call.REQUEST_ID].startswith("req_")
    assert "authorization" not in seen[0]
    assert not {"baggage", "x-else", call.TARGET} & set(seen[0])
    assert "a" * 32 not in seen[0].get("traceparent", "")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), Reason.CREDENTIAL_MISSING),
        ((("authorization", "Basic abc"),), Reason.CREDENTIAL_INVALID),
        ((("authorization", "Bearer unknown"),), Reason.CREDENTIAL_INVALID),
        ((("authorization", "Bearer x y"),), Reason.CREDENTIAL_INVALID),
        (((call.ASSERTION, "acme generate"),), Reason.CREDENTIAL_MISSING),
    ],
)
async def test_without_a_valid_credential_nobody_gets_in(desk: FrontDesk, metadata: Any, reason: Reason) -> None:
    error = await refusal(desk.stub.Echo(HELLO, metadata=metadata))
    assert isinstance(error, Unauthenticated)
    assert error.reason is reason


@pytest.mark.parametrize("method", ["Assist", "Settle", "Gossip"])
async def test_mesh_rpcs_do_not_exist_outside(desk: FrontDesk, method: str) -> None:
    forged = ((call.SERVICE, "gateway"), (call.ASSERTION, "acme generate"))
    with pytest.raises(aio.AioRpcError) as refused:
        await getattr(desk.stub, method)(HELLO, metadata=(*KEY, *forged))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("use", ["Echo", "EchoMany", "Collect", "Chat"])
async def test_a_refusal_of_a_service_passes_unchanged(desk: FrontDesk, use: str) -> None:
    raised = NotFound(Reason.NOT_FOUND, "the prompt `x` does not exist", kind="prompt")

    async def once(request: Any, context: Any) -> Any:
        raise raised

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        raise raised
        yield

    desk.acts.once = desk.acts.collect = once
    desk.acts.many = desk.acts.chat = stream
    begin: Callable[[], Any] = {
        "Echo": lambda: desk.stub.Echo(HELLO, metadata=KEY),
        "EchoMany": lambda: gathered(desk.stub.EchoMany(HELLO, metadata=KEY)),
        "Collect": lambda: told(desk.stub.Collect(iter([HELLO]), metadata=KEY)),
        "Chat": lambda: told(desk.stub.Chat(iter([HELLO]), metadata=KEY)),
    }[use]
    error = await refusal(begin())
    assert type(error) is NotFound
    assert (error.reason, error.message, error.metadata) == (raised.reason, raised.message, raised.metadata)


async def test_an_upload_that_is_refused_half_way_tells_why(desk: FrontDesk) -> None:
    async def collect(requests: Any, context: Any) -> Any:
        async for _ in requests:
            raise NotFound(Reason.NOT_FOUND, "no such collection")

    async def upload() -> AsyncIterator[Any]:
        for _ in range(1000):
            yield pb.EchoRequest(text="x" * 50_000)

    desk.acts.collect = collect
    for _ in range(10):
        assert type(await refusal(told(desk.stub.Collect(upload(), metadata=KEY)))) is NotFound


async def test_a_service_that_is_away_is_named_by_our_name_for_it_and_by_no_address(desk: FrontDesk) -> None:
    if desk.registry.handlers("echo"):
        desk.registry.remove("echo")
    else:
        await desk.listener.drain(0)
    with pytest.raises(aio.AioRpcError) as refused:
        await desk.stub.Echo(HELLO, metadata=KEY)
    assert "127.0.0.1" not in str(refused.value.details())
    error = from_rpc_error(refused.value)
    assert isinstance(error, Unavailable)
    assert error.metadata == {"service": "echo"}
    assert error.reason is Reason.SERVICE_UNAVAILABLE


async def test_paths_without_end_that_a_stranger_names_leave_nothing_in_memory(desk: FrontDesk) -> None:
    async def ask(path: str) -> grpc.StatusCode:
        try:
            await desk.channel.unary_unary(path)(b"")
        except aio.AioRpcError as refused:
            return refused.code()
        return grpc.StatusCode.OK

    known = "/tenantry.api.echo.v1.EchoService/Echo"
    long = "x" * 4096
    await ask(f"/{long}/No")
    tracemalloc.start()
    try:
        before = _held()
        for number in range(2000):
            path = (f"/tenantry.api.no{number}.v1.NoService/{long}", f"/{long}{number}", f"{known}{long}{number}")[
                number % 3
            ]
            assert await ask(path) is grpc.StatusCode.UNIMPLEMENTED
        # Kept, they would be 8 MB.
        assert _held() - before < 1_000_000
    finally:
        tracemalloc.stop()


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_anybody_may_check_and_watch_the_health_until_the_edge_ends(desk: FrontDesk) -> None:
    health: Any = health_pb2_grpc.HealthStub(desk.channel)
    asked = health_pb2.HealthCheckRequest()
    assert (await health.Check(asked)).status == health_pb2.HealthCheckResponse.SERVING
    watch = health.Watch(asked)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    async with asyncio.timeout(5):
        await desk.edge.drain(60)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_watchers_of_the_health_without_end_are_refused_and_hold_up_no_call(desk: FrontDesk) -> None:
    health: Any = health_pb2_grpc.HealthStub(desk.channel)
    watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(256)]
    for watch in watches:
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(aio.AioRpcError) as refused:
        await health.Watch(health_pb2.HealthCheckRequest()).read()
    assert from_rpc_error(refused.value).reason is Reason.SERVER_BUSY
    assert (await desk.stub.Echo(HELLO, metadata=KEY)).text == "hello"
    watches[0].cancel()
    for _ in range(100):
        again = health.Watch(health_pb2.HealthCheckRequest())
        try:
            assert (await again.read()).status == health_pb2.HealthCheckResponse.SERVING
            break
        except aio.AioRpcError:
            await asyncio.sleep(0.02)
    else:
        pytest.fail("the place of a watcher who went was not given to another")


async def test_every_answer_names_its_request(desk: FrontDesk) -> None:
    answered = desk.stub.Echo(HELLO, metadata=KEY)
    await answered
    assert str((await answered.trailing_metadata())[call.REQUEST_ID]).startswith("req_")
    with pytest.raises(aio.AioRpcError) as refused:
        await desk.stub.Echo(HELLO)
    assert call.REQUEST_ID in [key for key, _ in refused.value.trailing_metadata() or ()]


async def test_a_message_of_32_mb_is_refused_with_a_sentence(desk: FrontDesk) -> None:
    error = await refusal(desk.stub.Echo(pb.EchoRequest(text="x" * (32 * 1024 * 1024)), metadata=KEY))
    assert error.reason is Reason.TOO_LARGE
    assert "larger than 4194304 bytes" in error.message
