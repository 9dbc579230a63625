"""One RPC as a client of the mesh makes it: what it carries, its span, its second attempt, and its error."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from opentelemetry import trace

from tenantry.kit import call, telemetry, tracecontext
from tenantry.kit.access import access_of, service_of
from tenantry.kit.clock import Clock
from tenantry.kit.errors import DeadlineExceeded, Internal, InvalidArgument, Reason, TenantryError, Unavailable
from tenantry.kit.outgoing_stream import OutgoingStream
from tenantry.kit.retry import Budget, repeatable, wait_before
from tenantry.kit.status import from_rpc_error

UNARY_S = 30.0
# A stream without a deadline lives as long as a server lets it.
STREAM_S = 600.0
Pairs = tuple[tuple[str, str | bytes], ...]


class Trip:
    """One call on its way: its span, the metadata it carries, its deadline."""

    __slots__ = ("deadline", "metadata", "span")

    def __init__(self, span: trace.Span, metadata: Pairs, deadline: float) -> None:
        self.span = span
        self.metadata = metadata
        self.deadline = deadline

    def remaining(self) -> float:
        """Seconds left; raises when none are."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded
        return left

    def end(self, code: str, attempts: int = 1) -> None:
        """Ends the span, once, with the status that the call had."""
        span = self.span
        if span.is_recording():
            span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[code].value[0])
            if attempts > 1:
                span.set_attribute("tenantry.attempts", attempts)
            if code not in ("OK", "CANCELLED"):
                span.set_status(trace.StatusCode.ERROR)
            span.end()


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of an RPC before the first call. `about` is whether its tenant is learnt from the answer."""

    name: str
    target: str | None
    traced: bool
    about: bool
    attributes: dict[str, str]

    @classmethod
    def of(cls, room: str, path: str) -> "Route":
        service, _, method = path.removeprefix("/").partition("/")
        access = access_of(path)
        return cls(
            path[1:],
            room if service_of(path) is None else None,
            not service.startswith("opentelemetry."),
            access is not None and access.caller != "required",
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method, "server.address": room},
        )


class Departures:
    """Prepares the calls of one hosted service."""

    def __init__(self, service: str, token_source: Callable[[], str]) -> None:
        self._service = service
        self._token_source = token_source

    def depart(self, route: Route, timeout: float | None, longest_s: float, extra: Any) -> Trip:
        """A call made now, on behalf of the call being served, if there is one."""
        now = call.CURRENT.get()
        deadline = time.monotonic() + (longest_s if timeout is None else timeout)
        if now.deadline is not None and now.deadline < deadline:
            deadline = now.deadline
        span = trace.INVALID_SPAN
        if route.traced:
            span = telemetry.tracer(self._service).start_span(
                route.name, kind=trace.SpanKind.CLIENT, attributes=route.attributes
            )
        carried: list[tuple[str, str | bytes]] = [*now.onward()]
        token = self._token_source()
        if token:
            carried.append((call.SERVICE, token))
        if route.target is not None:
            carried.append((call.TARGET, route.target))
        parent = tracecontext.header(span)
        if parent is not None:
            carried.append((call.TRACEPARENT, parent))
        if extra:
            carried.extend(extra)
        return Trip(span, tuple(carried), deadline)


def encoder(serialise: Callable[[Any], bytes] | None, limit: int) -> Callable[[Any], bytes]:
    """Serialises a request, and refuses here what the server would refuse."""

    def encode(message: Any) -> bytes:
        data = serialise(message) if serialise is not None else message
        if len(data) > limit:
            raise InvalidArgument("", f"the message is larger than {limit} bytes", reason=Reason.TOO_LARGE)
        return data

    return encode


def decoder(parse: Callable[[bytes], Any] | None, path: str) -> Callable[[bytes], Any]:
    """Parses a response."""

    def decode(data: bytes) -> Any:
        try:
            return parse(data) if parse is not None else data
        except DecodeError:
            raise Internal(f"the response of {path} can't be decoded") from None

    return decode


class UnaryRpc:
    """A unary RPC of one channel; calling it gives a call to await."""

    def __init__(
        self,
        departures: Departures,
        room: str,
        path: str,
        bind: Callable[[], Any],
        serialise: Any,
        parse: Any,
        message_bytes: int,
        budget: Budget,
        clock: Clock,
    ) -> None:
        self._departures = departures
        self._room = room
        self._route = Route.of(room, path)
        self._repeatable = repeatable(path)
        self._bind = bind
        self._bound: Any = None
        self._encode = encoder(serialise, message_bytes)
        self._decode = decoder(parse, path)
        self._budget = budget
        self._clock = clock

    def __call__(self, request: Any, *, timeout: float | None = None, metadata: Any = None, **_: Any) -> "UnaryCall":
        return UnaryCall(self, self._encode(request), timeout, metadata)

    async def perform(self, handle: "UnaryCall", data: bytes, timeout: float | None, metadata: Any) -> Any:
        """Sends the request, again where that is allowed, and gives the response."""
        trip = self._departures.depart(self._route, timeout, UNARY_S, metadata)
        code = "CANCELLED"
        attempts = 1
        try:
            while True:
                try:
                    response = await self._attempt(handle, data, trip)
                except Unavailable as error:
                    if not await self._pause(attempts, error, trip):
                        raise
                    attempts += 1
                else:
                    code = "OK"
                    self._budget.succeeded()
                    return self._decode(response)
        except TenantryError as error:
            code = error.code
            raise
        finally:
            trip.end(code, attempts)

    async def _attempt(self, handle: "UnaryCall", data: bytes, trip: Trip) -> bytes:
        if self._bound is None:
            self._bound = self._bind()
        inner = handle.inner = self._bound(data, timeout=trip.remaining(), metadata=trip.metadata)
        try:
            response = await inner
        except aio.AioRpcError as failure:
            if self._route.about:
                learn(trip.span, failure.trailing_metadata())
            raise from_rpc_error(failure, self._room) from None
        if self._route.about and trip.span.is_recording():
            learn(trip.span, await inner.trailing_metadata())
        return response

    async def _pause(self, attempt: int, error: Unavailable, trip: Trip) -> bool:
        self._budget.failed()
        wait = wait_before(attempt, error) if self._repeatable and self._budget.allows() else None
        if wait is None or wait >= trip.remaining():
            return False
        await self._clock.sleep(wait)
        return True


class UnaryCall:
    """A call that is sent when it is first awaited. To have several under way, use `asyncio.gather` or a task group."""

    __slots__ = ("_arguments", "_rpc", "_task", "inner")

    def __init__(self, rpc: UnaryRpc, data: bytes, timeout: float | None, metadata: Any) -> None:
        self._rpc = rpc
        self._arguments = (data, timeout, metadata)
        self._task: asyncio.Future[Any] | None = None
        self.inner: Any = None

    def __await__(self) -> Generator[Any, None, Any]:
        if self._task is not None:
            return self._task.__await__()
        if self.inner is not None:
            raise RuntimeError("the call was awaited before")
        return self._rpc.perform(self, *self._arguments).__await__()

    def start(self) -> "asyncio.Future[Any]":
        """Sends the call now, in a task."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._rpc.perform(self, *self._arguments))
        return self._task

    def cancel(self) -> bool:
        if self._task is not None:
            return self._task.cancel()
        return self.inner is not None and self.inner.cancel()

    def cancelled(self) -> bool:
        return self.inner is not None and self.inner.cancelled()

    def done(self) -> bool:
        return self._task.done() if self._task is not None else self.inner is not None and self.inner.done()

    def time_remaining(self) -> float | None:
        return self.inner.time_remaining() if self.inner is not None else None

    async def initial_metadata(self) -> aio.Metadata:
        return await (await self._ended()).initial_metadata()

    async def trailing_metadata(self) -> aio.Metadata:
        return await (await self._ended()).trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        return await (await self._ended()).code()

    async def details(self) -> str:
        return await (await self._ended()).details()

    async def _ended(self) -> Any:
        """The last attempt, once it is over."""
        if self.inner is None:
            self.start()
        if self._task is not None:
            await asyncio.wait([self._task])
        return self.inner


class StreamingRpc:
    """An RPC that streams requests, responses or both; calling it starts it."""

    def __init__(
        self,
        departures: Departures,
        room: str,
        path: str,
        bind: Callable[[], Any],
        shape: str,
        serialise: Any,
        parse: Any,
        message_bytes: int,
    ) -> None:
        self._departures = departures
        self._room = room
        self._route = Route.of(room, path)
        self._bind = bind
        self._bound: Any = None
        self._streams_in = shape.startswith("stream")
        self._encode = encoder(serialise, message_bytes)
        self._decode = decoder(parse, path)

    def __call__(
        self, request: Any = None, *, timeout: float | None = None, metadata: Any = None, **_: Any
    ) -> OutgoingStream:
        if self._bound is None:
            self._bound = self._bind()
        first = self._encode(request) if not self._streams_in else None
        trip = self._departures.depart(self._route, timeout, STREAM_S, metadata)
        stream = OutgoingStream(self._room, trip, self._encode, self._decode)
        try:
            given = first if not self._streams_in else stream.requests(request)
            sent = self._bound(given, timeout=trip.remaining(), metadata=trip.metadata)
            stream.start(sent, self._streams_in)
        except TenantryError as error:
            trip.end(error.code)
            raise
        return stream


def learn(span: trace.Span, trailing: Any) -> None:
    """Takes over what the answer says about whose the call was."""
    found = {key: value for key, value in trailing or () if key in (call.TENANT, call.TIER)}
    telemetry.mark(span, str(found.get(call.TENANT, "")), str(found.get(call.TIER, "")))


