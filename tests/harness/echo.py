"""The echo service behind either kind of channel, with proofs that a test can write by hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from tenantry.kit import call
from tenantry.kit.access import Access, Verified
from tenantry.kit.caller import Caller
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import Clock, SystemClock
from tenantry.kit.errors import Reason, Unauthenticated
from tenantry.kit.guard import Limits
from tenantry.kit.revocations import Revocations
from tenantry.kit.server import Listener, OpenRoom, Registry, Room, open_room
from tenantry.kit.settings import MeshSettings
from tests.harness.protos import echo_pb2 as pb
from tests.harness.protos import echo_pb2_grpc
from tests.harness.revocations import nobody_revoked

KINDS = ("network", "inprocess")
Act = Callable[[Any, Any], Any]


async def _once(request: Any, context: Any) -> Any:
    return pb.EchoResponse(text=request.text)


async def _many(request: Any, context: Any) -> AsyncIterator[Any]:
    for number in range(request.count):
        yield pb.EchoResponse(text=f"{request.text}{number}")


async def _collect(requests: Any, context: Any) -> Any:
    return pb.EchoResponse(text=",".join([request.text async for request in requests]))


async def _chat(requests: Any, context: Any) -> AsyncIterator[Any]:
    async for request in requests:
        yield pb.EchoResponse(text=request.text)


@dataclass
class Acts:
    """What each shape of RPC does; a test replaces what it needs."""

    once: Act = _once
    many: Act = _many
    collect: Act = _collect
    chat: Act = _chat


class Echo(echo_pb2_grpc.EchoServiceServicer):
    """Does what `acts` says at the time of a call."""

    def __init__(self, acts: Acts) -> None:
        self.acts = acts

    async def Echo(self, request: Any, context: Any) -> Any:
        return await self.acts.once(request, context)

    EchoOnce = Govern = Settle = Assist = Gossip = Echo

    async def EchoMany(self, request: Any, context: Any) -> AsyncIterator[Any]:
        answer = self.acts.many(request, context)
        if hasattr(answer, "__aiter__"):
            try:
                async for message in answer:
                    yield message
            finally:
                await answer.aclose()
        else:
            await answer

    Feed = EchoMany

    async def Collect(self, request_iterator: Any, context: Any) -> Any:
        return await self.acts.collect(request_iterator, context)

    async def Chat(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for message in self.acts.chat(request_iterator, context):
            yield message


class WrittenProofs:
    """Believes `tenant` or `tenant scope scope…` as an assertion, and a name as a service token; never `forged`."""

    async def authenticate(
        self, path: str, access: Access, metadata: Mapping[str, str], certified: str | None = None
    ) -> Verified:
        assertion, identity = metadata.get(call.ASSERTION), metadata.get(call.SERVICE)
        if "forged" in (assertion, identity):
            raise Unauthenticated(Reason.CREDENTIAL_INVALID, "the proof is forged")
        return Verified(caller_of(assertion) if assertion else None, identity)


def caller_of(assertion: str) -> Caller:
    """The caller whom a written assertion names."""
    tenant, *scopes = assertion.split()
    return Caller(tenant, "north", "pro", "key:1", frozenset(scopes), "1")


def mesh_of(addresses: Mapping[str, str]) -> MeshSettings:
    """Settings of a process that reaches services at `addresses`."""
    return MeshSettings(listen="127.0.0.1:0", edge_listen="", addresses=addresses)


def acme(**more: Any) -> call.Call:
    """A call of a caller of `acme` who may generate."""
    assertion = "acme generate"
    return call.Call(caller_of(assertion), assertion=assertion, request_id="req_1", service="gateway", **more)


@dataclass
class House:
    """A running echo service and the gateway's mesh that reaches it."""

    room: OpenRoom
    listener: Listener
    registry: Registry
    mesh: Mesh
    stub: Any
    acts: Acts

    def raw(self, shape: str, method: str) -> Any:
        """The RPC without what a mesh channel adds: messages are bytes, metadata as given."""
        return getattr(self.mesh.transport("echo"), shape)(f"/tenantry.api.echo.v1.EchoService/{method}")


Open = Callable[..., Awaitable[House]]


@contextlib.asynccontextmanager
async def houses(kind: str) -> AsyncIterator[Open]:
    """Opens echo services that a test reaches by `kind` of channel; drains them at the end."""
    opened: list[House] = []

    async def open_house(
        acts: Acts | None = None,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
        service: str = "gateway",
        revocations: Revocations | None = None,
    ) -> House:
        acts = acts or Acts()
        servicers = [(echo_pb2_grpc.add_EchoServiceServicer_to_server, Echo(acts))]
        room = open_room(Room("echo", servicers), WrittenProofs(), limits or Limits(), revocations or nobody_revoked())
        listener = Listener([room], "127.0.0.1:0")
        await listener.start()
        await listener.serving()
        registry = Registry()
        if kind == "inprocess":
            registry.add(room)
        settings = mesh_of({"echo": f"127.0.0.1:{listener.port}"})
        mesh = Mesh(service, settings, registry, lambda: service, clock or SystemClock())
        stub = echo_pb2_grpc.EchoServiceStub(mesh.channel("echo"))
        opened.append(House(room, listener, registry, mesh, stub, acts))
        return opened[-1]

    try:
        yield open_house
    finally:
        for house in opened:
            await house.mesh.close()
            await house.listener.drain(0.2)


class Watched:
    """A handler's fate: that it began, and with what it ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.callbacks = 0

    async def once(self, request: Any, context: Any) -> Any:
        def done(_: Any) -> None:
            self.callbacks += 1

        context.add_done_callback(done)
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def many(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield pb.EchoResponse(text="first")
        await self.once(request, context)

    def acts(self) -> Acts:
        return Acts(self.once, self.many, self.once, self.many)


async def use_unary(stub: Any, **options: Any) -> None:
    await stub.Echo(pb.EchoRequest(), **options)


async def use_many(stub: Any, **options: Any) -> None:
    async for _ in stub.EchoMany(pb.EchoRequest(), **options):
        pass


async def use_collect(stub: Any, **options: Any) -> None:
    await stub.Collect(iter([pb.EchoRequest(text="a")]), **options)


async def use_chat(stub: Any, **options: Any) -> None:
    async for _ in stub.Chat(iter([pb.EchoRequest(text="a")]), **options):
        pass


EVERY_SHAPE = (use_unary, use_many, use_collect, use_chat)
Use = Callable[..., Coroutine[Any, Any, None]]
