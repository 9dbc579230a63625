"""What a client holds of an in-process call: the interface of `grpc.aio`'s call objects."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import grpc
from grpc import aio

from tenantry.kit.exchange import Exchange

Codec = Callable[[Any], Any]
# gRPC's words for a call that its own client cancelled.
LOCALLY = "Locally cancelled by application!"


class RequestStream:
    """The requests of a streaming call: taken from an iterator by a task, or written one by one."""

    def __init__(self, exchange: Exchange, encode: Codec | None, requests: Any) -> None:
        self._exchange = exchange
        self._encode = encode
        self._half_closed = False
        self._feeder: asyncio.Task[None] | None = None
        if requests is not None:
            self._feeder = asyncio.get_running_loop().create_task(self._feed(requests))
            exchange.on_end(self.stop)

    async def put(self, request: Any) -> None:
        """Sends one request; waits while the handler is behind."""
        if self._exchange.code is not None:
            raise asyncio.InvalidStateError("RPC already finished.")
        if self._half_closed:
            raise asyncio.InvalidStateError("RPC is half closed after calling done_writing().")
        data = self._encode(request) if self._encode is not None else request
        try:
            taken = await self._exchange.requests.put(data)
        except asyncio.CancelledError:
            cancel(self._exchange)
            raise
        if taken:
            return
        if not self._exchange.failed():
            raise asyncio.InvalidStateError("RPC already finished.")
        raise self._exchange.error()

    async def end(self) -> None:
        """Says that no request follows."""
        self._half_closed = True
        self._exchange.requests.close()

    def stop(self) -> None:
        """Stops taking from the iterator."""
        if self._feeder is not None:
            self._feeder.cancel()

    async def _feed(self, requests: Any) -> None:
        try:
            if hasattr(requests, "__aiter__"):
                async for request in requests:
                    await self.put(request)
            else:
                for request in requests:
                    await self.put(request)
            await self.end()
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return  # The call has ended; its status says why.
        except asyncio.CancelledError:
            cancel(self._exchange)
            raise
        except Exception:
            cancel(self._exchange)  # As gRPC does: an iterator that fails cancels the call.


class _Call(aio.Call):
    def __init__(self, exchange: Exchange, decode: Codec | None, writing: RequestStream | None) -> None:
        self._exchange = exchange
        self._decode = decode
        self._writing = writing

    def __del__(self) -> None:
        if self._exchange.code is None and not self._exchange_loop_closed():
            self.cancel()

    def _exchange_loop_closed(self) -> bool:
        task = self._exchange.task
        return task is None or task.get_loop().is_closed()

    def cancel(self) -> bool:
        if not cancel(self._exchange):
            return False
        if self._writing is not None:
            self._writing.stop()
        return True

    def cancelled(self) -> bool:
        return self._exchange.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._exchange.code is not None

    def time_remaining(self) -> float | None:
        return self._exchange.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._exchange.on_end(lambda: callback(self))

    async def initial_metadata(self) -> aio.Metadata:
        return aio.Metadata.from_tuple(await self._exchange.wait_initial())

    async def trailing_metadata(self) -> aio.Metadata:
        await self._exchange.wait_ended()
        return aio.Metadata.from_tuple(self._exchange.trailing)

    async def code(self) -> grpc.StatusCode:
        return await self._exchange.wait_ended()

    async def details(self) -> str:
        await self._exchange.wait_ended()
        return self._exchange.details

    async def wait_for_connection(self) -> None:
        if self._exchange.code is not None:
            self._raise_for_status()

    async def write(self, request: Any) -> None:
        """Sends one request of a streaming call."""
        assert self._writing is not None
        await self._writing.put(request)

    async def done_writing(self) -> None:
        """Says that no request follows."""
        assert self._writing is not None
        await self._writing.end()

    def _raise_for_status(self) -> None:
        if self._exchange.details is LOCALLY and self._exchange.code is grpc.StatusCode.CANCELLED:
            raise asyncio.CancelledError
        if self._exchange.failed():
            raise self._exchange.error()

    def _decoded(self, data: bytes) -> Any:
        return self._decode(data) if self._decode is not None else data


class UnaryCall(_Call):
    """A call with one response."""

    _response: bytes | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            yield from self._exchange.wait_ended().__await__()
        except asyncio.CancelledError:
            self.cancel()
            raise
        self._raise_for_status()
        if self._response is None:
            self._response = self._exchange.responses.take()
            if self._response is None:
                raise aio.AioRpcError(
                    grpc.StatusCode.INTERNAL, aio.Metadata(), aio.Metadata(), "the call gave no response"
                )
        return self._decoded(self._response)


class StreamCall(_Call):
    """A call with a stream of responses."""

    _iterator: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._iterator is None:
            self._iterator = self._iterate()
        return self._iterator

    async def read(self) -> Any:
        """The next response, or `grpc.aio.EOF` after the last one."""
        try:
            data = await self._exchange.responses.get()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if data is not None:
            return self._decoded(data)
        await self._exchange.wait_ended()
        self._raise_for_status()
        return aio.EOF

    async def _iterate(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not aio.EOF:
            yield message


def cancel(exchange: Exchange) -> bool:
    """Cancels a call from the client's side; False when it has ended."""
    return exchange.break_off(grpc.StatusCode.CANCELLED, LOCALLY)
