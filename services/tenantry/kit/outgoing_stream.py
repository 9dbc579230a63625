"""A streaming call as a client of the mesh holds it: the transport's call, with messages for bytes and our errors."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Protocol

import grpc
from grpc import aio

from tenantry.kit.errors import TenantryError
from tenantry.kit.network import PeerStatus
from tenantry.kit.status import from_rpc_error


class Ends(Protocol):
    """What a stream tells when it is over."""

    def end(self, code: str) -> None:
        """The status that it had."""
        ...


class OutgoingStream:
    """One streaming call, of any of the three shapes."""

    def __init__(self, room: str, trip: Ends, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]) -> None:
        self._room = room
        self._trip = trip
        self._encode = encode
        self._decode = decode
        self._iterator: AsyncIterator[Any] | None = None
        self._request_error: TenantryError | None = None
        self._peer: PeerStatus | None = None
        self.inner: Any = None

    def start(self, inner: Any, streams_in: bool) -> None:
        """Takes the transport's call."""
        self.inner = inner
        if streams_in:
            self._peer = PeerStatus(inner)

    def __del__(self) -> None:
        # Nobody can read it any more: the transport cancels a call that is dropped, and the span ends with it.
        self._trip.end("CANCELLED")

    def requests(self, given: Any) -> Any:
        """The requests as bytes; None when they are to be written one by one."""
        return None if given is None else self._encoded(given)

    async def _encoded(self, given: Any) -> AsyncIterator[bytes]:
        try:
            if hasattr(given, "__aiter__"):
                async for request in given:
                    yield self._encode(request)
            else:
                for request in given:
                    yield self._encode(request)
        except TenantryError as error:
            self._request_error = error  # The transport cancels the call; this says why.
            raise

    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        try:
            data = await self.inner
        except BaseException as failure:
            raise await self._ended_by(failure) from None
        self._trip.end("OK")
        return self._decode(data)

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._iterator is None:
            self._iterator = self._iterate()
        return self._iterator

    async def _iterate(self) -> AsyncIterator[Any]:
        try:
            while (message := await self.read()) is not aio.EOF:
                yield message
        finally:
            self.cancel()  # Of no effect after the end; a loop that was left early has no more use for the call.

    async def read(self) -> Any:
        """The next response, or `grpc.aio.EOF` after the last one."""
        try:
            data = await self.inner.read()
        except BaseException as failure:
            raise await self._ended_by(failure) from None
        if data is aio.EOF:
            self._trip.end("OK")
            return data
        return self._decode(data)

    async def write(self, request: Any) -> None:
        """Sends one request; waits while the service is behind."""
        data = self._encode(request)
        try:
            await self.inner.write(data)
        except asyncio.InvalidStateError:
            await self._raise_status()
            raise
        except BaseException as failure:
            raise await self._ended_by(failure) from None

    async def done_writing(self) -> None:
        """Says that no request follows."""
        await self.inner.done_writing()

    def cancel(self) -> bool:
        """Cancels the call; False when it is over."""
        done = self.inner.cancel()
        if done:
            self._trip.end("CANCELLED")
        return done

    def cancelled(self) -> bool:
        return self.inner.cancelled()

    def done(self) -> bool:
        return self.inner.done()

    def time_remaining(self) -> float | None:
        return self.inner.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.inner.add_done_callback(callback)

    async def initial_metadata(self) -> aio.Metadata:
        return await self.inner.initial_metadata()

    async def trailing_metadata(self) -> aio.Metadata:
        return await self.inner.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        return await self.inner.code()

    async def details(self) -> str:
        return await self.inner.details()

    async def wait_for_connection(self) -> None:
        """Returns when the call has been sent."""
        try:
            await self.inner.wait_for_connection()
        except BaseException as failure:
            raise await self._ended_by(failure) from None

    async def _raise_status(self) -> None:
        if self.inner.done() and await self.inner.code() is not grpc.StatusCode.OK:
            failure = aio.AioRpcError(
                await self.inner.code(),
                await self.inner.initial_metadata(),
                await self.inner.trailing_metadata(),
                await self.inner.details(),
            )
            raise await self._ended_by(failure) from None

    async def _ended_by(self, failure: BaseException) -> BaseException:
        if self._request_error is not None and _is_cancellation(failure):
            failure = self._request_error
        elif isinstance(failure, aio.AioRpcError):
            if self._peer is not None:
                failure = await self._peer.behind(failure)
            failure = from_rpc_error(failure, self._room)
        self._trip.end(failure.code if isinstance(failure, TenantryError) else "CANCELLED")
        return failure


def _is_cancellation(failure: BaseException) -> bool:
    """What a request iterator's own error comes back as; which of the two depends on who notices first."""
    if isinstance(failure, aio.AioRpcError):
        return failure.code() is grpc.StatusCode.CANCELLED
    return isinstance(failure, asyncio.CancelledError)
