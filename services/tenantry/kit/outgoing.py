"""One RPC as a client of the mesh makes it: sent, sent again where that is allowed, and failing with our errors."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import grpc
from grpc import aio

from tenantry.kit.clock import Clock
from tenantry.kit.departure import STREAM_S, UNARY_S, Departures, Route, Trip, decoder, encoder, learn
from tenantry.kit.errors import TenantryError, Unavailable
from tenantry.kit.outgoing_stream import OutgoingStream
from tenantry.kit.retry import Budget, repeatable, wait_before
from tenantry.kit.status import from_rpc_error


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
