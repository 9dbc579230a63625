"""A room and how it is opened: its handlers behind the guard, found by channels of this process and by the listener.

built -> serving -> draining (health says NOT_SERVING, nothing new from outside, running calls end) -> stopped
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc
from google.protobuf import descriptor_pool
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tenantry.kit import call, network, secure
from tenantry.kit.access import FOREIGN, Authenticator
from tenantry.kit.audit_refusals import Refusal, nobody_notes
from tenantry.kit.certificate import Shown
from tenantry.kit.guard import Guard, Limits
from tenantry.kit.inprocess import Handlers
from tenantry.kit.revocations import Revocations

Servicer = tuple[Callable[[Any, Any], None], Any]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# How often the health of what a room can do without is looked at.
_TELL_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Room:
    """One service as its `build` makes it: servicers, each with the function that registers it, and background work.

    `signing_keys` is tenancy's alone: the public keys by id, for the process that hosts it. `afterwards` returns when
    nothing is left to do in other rooms for calls that were answered; it is bounded in time. `leaving` is called when calls
    that have not ended by themselves are about to be cut, so that the room can tell that from a client's going. `parts` are
    what the room can do without for a while: the health check tells of each, by `room.part`, whether it is there.
    """

    name: str
    servicers: Sequence[Servicer]
    background: Sequence[Callable[[], Awaitable[None]]] = ()
    signing_keys: Callable[[], Awaitable[Mapping[str, bytes]]] | None = None
    afterwards: Callable[[], Awaitable[None]] | None = None
    leaving: Callable[[], None] | None = None
    parts: Mapping[str, Callable[[], bool]] = field(default_factory=dict[str, Callable[[], bool]])


@dataclass(frozen=True, slots=True)
class OpenRoom:
    """A room whose handlers are guarded. `services` are the full names of its proto services."""

    name: str
    guard: Guard
    handlers: Handlers
    services: tuple[str, ...]
    afterwards: Callable[[], Awaitable[None]] | None = None
    leaving: Callable[[], None] | None = None
    parts: Mapping[str, Callable[[], bool]] = field(default_factory=dict[str, Callable[[], bool]])


class _Wanted(NamedTuple):
    method: str
    invocation_metadata: tuple[()]


class _Collector:
    """Takes what the generated `add_…Servicer_to_server` functions register, instead of a server."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Ours are registered by name too; foreign stubs may be of an older generator, which does not do that."""
        for handler in generic_rpc_handlers:
            found = {path: handler.service(_Wanted(path, ())) for path in FOREIGN}
            self.handlers |= {path: method for path, method in found.items() if method is not None}

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Any]) -> None:
        for name, handler in method_handlers.items():
            self.handlers[f"/{service_name}/{name}"] = handler


def open_room(
    room: Room,
    authenticator: Authenticator,
    limits: Limits,
    revocations: Revocations,
    note: Callable[[Refusal], None] = nobody_notes,
) -> OpenRoom:
    """Guards every handler of the room. Raises LookupError if one has no complete access option."""
    guard = Guard(room.name, authenticator, limits, revocations, note)
    collector = _Collector()
    for add_to_server, servicer in room.servicers:
        add_to_server(servicer, collector)
    handlers = {path: guard.wrap(path, handler) for path, handler in collector.handlers.items()}
    services = tuple(sorted({path[1:].partition("/")[0] for path in handlers}))
    return OpenRoom(room.name, guard, handlers, services, room.afterwards, room.leaving, room.parts)


class Registry:
    """The rooms of this process: those that it will host, by name, and of those the ones that are open."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = set(names)
        self._open: dict[str, OpenRoom] = {}

    def hosts(self, name: str) -> bool:
        """Whether this process hosts the room, open already or not."""
        return name in self._names

    def add(self, room: OpenRoom) -> None:
        """Opens a room to the channels of this process."""
        self._names.add(room.name)
        self._open[room.name] = room

    def remove(self, name: str) -> None:
        """Closes a room; calls to it are UNAVAILABLE from now on."""
        self._open.pop(name, None)

    def handlers(self, name: str) -> Handlers | None:
        """The handlers of an open room."""
        room = self._open.get(name)
        return None if room is None else room.handlers


class _Rooms(grpc.GenericRpcHandler):
    """Finds a handler by its path; where several rooms have it (the lifecycle contract), by the room that is named."""

    def __init__(self, rooms: Sequence[OpenRoom]) -> None:
        self._by_path: dict[str, dict[str, Any]] = {}
        for room in rooms:
            for path, handler in room.handlers.items():
                self._by_path.setdefault(path, {})[room.name] = handler
        self._single = {path: next(iter(found.values())) for path, found in self._by_path.items() if len(found) == 1}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        handler = self._single.get(path)
        if handler is not None or path not in self._by_path:
            return handler
        target = next((v for k, v in handler_call_details.invocation_metadata if k == call.TARGET), "")
        return self._by_path[path].get(str(target))


class Listener:
    """The process's address in the mesh: its rooms, health and reflection. With `certificates`, those of its rooms, it
    takes only clients that show one."""

    def __init__(
        self, rooms: Sequence[OpenRoom], address: str, *, shared_port: bool = False, certificates: Sequence[Shown] = ()
    ) -> None:
        self._rooms = rooms
        self._health = health.aio.HealthServicer()
        self._telling: asyncio.Task[None] | None = None
        options = [*network.SERVER_OPTIONS, *network.MESH_OPTIONS, ("grpc.so_reuseport", int(shared_port))]
        if certificates:
            options += secure.LISTENER_OPTIONS
        self._server = aio.server(handlers=[_Rooms(rooms)], options=options)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services = [name for room in rooms for name in room.services]
        known = [name for name in dict.fromkeys(services) if _is_described(name)]
        reflection.enable_server_reflection([*known, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        if certificates:
            self.port = self._server.add_secure_port(address, secure.listener_credentials(certificates))
        else:
            self.port = self._server.add_insecure_port(address)

    async def start(self) -> None:
        """Begins to take calls; health says NOT_SERVING until `serving`."""
        await self._set_health(NOT_SERVING)
        await self._server.start()

    async def serving(self) -> None:
        """Says that the rooms are ready."""
        await self._set_health(SERVING)
        self._telling = asyncio.create_task(self._tell_of_parts())

    async def drain(self, grace_s: float) -> None:
        """Takes nothing new, lets running calls end for `grace_s`, ends the rest as UNAVAILABLE, and stops."""
        if self._telling is not None:
            self._telling.cancel()
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.ensure_future(self._server.stop(grace_s + 1.0))
        await drain(self._rooms, grace_s)
        await stopping

    async def _tell_of_parts(self) -> None:
        while True:
            for room in self._rooms:
                for part, is_there in room.parts.items():
                    await self._health.set(f"{room.name}.{part}", SERVING if is_there() else NOT_SERVING)
            await asyncio.sleep(_TELL_EVERY_S)

    async def _set_health(self, status: Any) -> None:
        for name in ("", *(r.name for r in self._rooms), *(s for r in self._rooms for s in r.services)):
            await self._health.set(name, status)


async def drain(rooms: Sequence[OpenRoom], grace_s: float) -> None:
    """Lets the calls of all rooms end within `grace_s`, then ends the rest.

    Until then every room takes new calls, since what is under way in one may need another. Those that owe others something
    after their calls, as the gateway owes quota what was used, end first.
    """
    end = time.monotonic() + grace_s
    for room in rooms:
        room.guard.stop()
    while any(room.guard.running for room in rooms) and (left := end - time.monotonic()) > 0:
        await asyncio.gather(*(room.guard.idle(left) for room in rooms))
    for room in rooms:
        if room.afterwards is not None:
            await room.guard.end()
            await room.afterwards()
    for room in rooms:
        if room.leaving is not None:
            room.leaving()
    await asyncio.gather(*(room.guard.end() for room in rooms))


async def until_stopped() -> None:
    """Returns at the first SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _is_described(service: str) -> bool:
    try:
        descriptor_pool.Default().FindServiceByName(service)
    except KeyError:
        return False
    return True
