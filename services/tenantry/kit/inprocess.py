"""A channel to a room in the same process, with the interface of `grpc.aio.Channel`.

It carries bytes to the room's guarded handlers, the same that the network listener serves, so a message is copied by
being serialised. Any shape of call may meet any shape of handler, as on the wire.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

import grpc
from grpc import aio

from tenantry.kit.exchange import Exchange, Pairs
from tenantry.kit.inprocess_calls import RequestStream, StreamCall, UnaryCall
from tenantry.kit.inprocess_context import InProcessContext
from tenantry.kit.peer import AuthContext

Handlers = Mapping[str, "grpc.RpcMethodHandler[bytes, bytes]"]
Lookup = Callable[[], Handlers | None]
Codec = Callable[[Any], Any]
NOBODY: AuthContext = {}


class InProcessChannel(aio.Channel):
    """Calls the handlers that `lookup` finds at the time of each call; without any, the room is UNAVAILABLE. `peer` is what
    they find in the call's `auth_context`."""

    def __init__(self, lookup: Lookup, peer: AuthContext = NOBODY) -> None:
        self._lookup = lookup
        self._peer = peer

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return _Callable(self._lookup, self._peer, method, False, False, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return _Callable(self._lookup, self._peer, method, False, True, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return _Callable(self._lookup, self._peer, method, True, False, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return _Callable(self._lookup, self._peer, method, True, True, request_serializer, response_deserializer)

    async def __aenter__(self) -> "InProcessChannel":
        return self

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        return None

    async def close(self, grace: float | None = None) -> None:
        """Nothing to close: there is no connection."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        found = self._lookup() is not None
        return grpc.ChannelConnectivity.READY if found else grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        # A room opens once a process: not worth an event.
        while self.get_state() is last_observed_state:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def channel_ready(self) -> None:
        await self.wait_for_state_change(grpc.ChannelConnectivity.TRANSIENT_FAILURE)


class _Callable:
    """One RPC of one shape, ready to be called."""

    __slots__ = ("_decode", "_encode", "_lookup", "_path", "_peer", "_streams_in", "_streams_out")

    def __init__(
        self,
        lookup: Lookup,
        peer: AuthContext,
        path: str,
        streams_in: bool,
        streams_out: bool,
        encode: Codec | None,
        decode: Codec | None,
    ) -> None:
        self._lookup = lookup
        self._peer = peer
        self._path = path
        self._streams_in = streams_in
        self._streams_out = streams_out
        self._encode = encode
        self._decode = decode

    def __call__(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> UnaryCall | StreamCall:
        exchange = Exchange(self._path, checked(metadata), timeout)
        writing = None
        if self._streams_in:
            writing = RequestStream(exchange, self._encode, request)
        else:
            exchange.requests.push(self._encode(request) if self._encode is not None else request)
            exchange.requests.close()
        handlers = self._lookup()
        handler = None if handlers is None else handlers.get(self._path)
        if timeout is not None and timeout <= 0:
            exchange.finish(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        elif handlers is None:
            exchange.finish(grpc.StatusCode.UNAVAILABLE, "the service is not running in this process")
        elif handler is None:
            exchange.finish(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        else:
            exchange.start(serve(exchange, handler, self._peer))
        kind = StreamCall if self._streams_out else UnaryCall
        return kind(exchange, self._decode, writing)


async def serve(exchange: Exchange, handler: "grpc.RpcMethodHandler[bytes, bytes]", peer: AuthContext = NOBODY) -> None:
    """The server's side of a call. Guarded handlers map their own errors; the last branch is for what they can't."""
    context = InProcessContext(exchange, peer)
    behaviour = _behaviour(handler)
    try:
        if handler.request_streaming:
            request: Any = exchange.incoming()
        else:
            request = await exchange.requests.get()
            if request is None:
                exchange.finish(grpc.StatusCode.INTERNAL, "the call carried no request")
                return
        response = await behaviour(request, context)
        if not handler.response_streaming and exchange.code is None:
            exchange.responses.push(response)
        exchange.finish(context.code(), context.details(), context.trailing_metadata())
    except aio.AbortError:
        exchange.finish(grpc.StatusCode.UNKNOWN, "")
    except asyncio.CancelledError:
        exchange.finish(grpc.StatusCode.CANCELLED, "the call was cancelled")
        raise
    except Exception as failure:
        exchange.finish(grpc.StatusCode.UNKNOWN, f"Unexpected {type(failure).__name__}")


def _behaviour(handler: "grpc.RpcMethodHandler[bytes, bytes]") -> Any:
    of = cast(Any, handler)
    if handler.request_streaming:
        return of.stream_stream if handler.response_streaming else of.stream_unary
    return of.unary_stream if handler.response_streaming else of.unary_unary


def checked(metadata: Any) -> Pairs:
    """The metadata as a tuple. Raises ValueError for what HTTP/2 would not carry, as the network channel does."""
    if not metadata:
        return ()
    pairs = tuple(metadata)
    for key, value in pairs:
        if value.__class__ is str and not _carried(value):
            raise ValueError(f"the metadata {key} can't be carried")
    return cast(Pairs, pairs)


@lru_cache(1024)
def _carried(value: str) -> bool:
    """Remembered, since looking at each character of a token would cost more than the rest of the call."""
    return value.isascii() and value.isprintable()
