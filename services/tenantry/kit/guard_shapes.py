"""Turns a servicer's method, which speaks messages, into a handler of bytes whose calls go through a pipeline."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from tenantry.kit.errors import Internal, InvalidArgument, Reason
from tenantry.kit.inprocess_context import PEER

Body = Callable[[], Awaitable[bytes | None]]
# Runs the body, which decodes, handles and encodes, between what comes before and after it.
Run = Callable[[Any, Body], Awaitable[bytes | None]]
Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]
_BEGUN_WITHIN_S = 0.3


class StreamContext:
    """The context of a streaming handler: the transport's own, whose `read` and `write` speak messages, not bytes."""

    __slots__ = ("_context", "_decode", "_encode")

    def __init__(self, context: Any, decode: Decode, encode: Encode) -> None:
        self._context = context
        self._decode = decode
        self._encode = encode

    async def read(self) -> Any:
        """The next request, or `grpc.aio.EOF`."""
        data = await self._context.read()
        return data if data is aio.EOF else self._decode(data)

    async def write(self, message: Any) -> None:
        """Sends a response; waits while the reader is behind."""
        await self._context.write(self._encode(message))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def over_bytes(
    handler: "grpc.RpcMethodHandler[Any, Any]", run: Run, message_bytes: int, check: Callable[[], None]
) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """The handler of bytes. A message, either way, has at most `message_bytes`; each response goes out after `check`,
    which may raise."""
    decode = decoder(handler.request_deserializer, message_bytes)
    encode = _checked(check, encoder(handler.response_serializer, message_bytes))
    of = cast(Any, handler)
    if handler.response_streaming:
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(_streaming(of.stream_stream, run, decode, encode, True))
        return grpc.unary_stream_rpc_method_handler(_streaming(of.unary_stream, run, decode, encode, False))
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(_gathering(of.stream_unary, run, decode, encode))
    return grpc.unary_unary_rpc_method_handler(_answering(of.unary_unary, run, decode, encode))


def _answering(behaviour: Any, run: Run, decode: Decode, encode: Encode) -> Any:
    async def unary_unary(request: bytes, context: Any) -> bytes | None:
        async def body() -> bytes:
            return encode(await behaviour(decode(request), context))

        return await run(context, body)

    return unary_unary


def _gathering(behaviour: Any, run: Run, decode: Decode, encode: Encode) -> Any:
    async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes | None:
        async def body() -> bytes:
            wrapped = StreamContext(context, decode, encode)
            return encode(await behaviour(_decoded(requests, decode), wrapped))

        return await run(context, body)

    return stream_unary


def _streaming(behaviour: Any, run: Run, decode: Decode, encode: Encode, streams_in: bool) -> Any:
    async def respond(request: Any, context: Any) -> None:
        async def body() -> None:
            wrapped = StreamContext(context, decode, encode)
            answer = behaviour(_decoded(request, decode) if streams_in else decode(request), wrapped)
            if inspect.isawaitable(answer):
                await answer
                return
            try:
                write = context.write if context.peer() == PEER else partial(_begin, context)
                async for message in answer:
                    await write(encode(message))
                    write = context.write
            except asyncio.CancelledError as cancelled:
                if inspect.isasyncgen(answer):
                    # The handler hears of it where it stands, as it would if it had been waiting itself.
                    with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                        await answer.athrow(cancelled)
                raise
            finally:
                # The handler's own clean-up runs now and in this task, not whenever the generator is collected.
                if inspect.isasyncgen(answer):
                    await answer.aclose()

        await run(context, body)

    return respond


async def _begin(context: Any, message: bytes) -> None:
    """Sends the first message. A call that is cancelled in the midst of that waits for it: gRPC would take its headers for not
    sent yet, send them again with the status, fail at that, and leave the client without an end."""
    writing = asyncio.ensure_future(context.write(message))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait((writing,), timeout=_BEGUN_WITHIN_S)
        raise


def decoder(parse: Decode | None, limit: int) -> Decode:
    """Parses a request, or says what is wrong with it."""

    def decode(data: bytes) -> Any:
        if len(data) > limit:
            raise InvalidArgument("", f"the message is larger than {limit} bytes", reason=Reason.TOO_LARGE)
        try:
            return parse(data) if parse is not None else data
        except DecodeError:
            raise InvalidArgument("", "the message can't be decoded as this RPC's request") from None

    return decode


def encoder(serialise: Encode | None, limit: int) -> Encode:
    """Serialises a response; one that is too large is a fault of ours."""

    def encode(message: Any) -> bytes:
        data = serialise(message) if serialise is not None else message
        if len(data) > limit:
            raise Internal(f"a response is larger than {limit} bytes")
        return data

    return encode


def _checked(check: Callable[[], None], encode: Encode) -> Encode:
    def checked(message: Any) -> bytes:
        check()
        return encode(message)

    return checked


async def _decoded(requests: AsyncIterator[bytes], decode: Decode) -> AsyncIterator[Any]:
    async for data in requests:
        yield decode(data)
