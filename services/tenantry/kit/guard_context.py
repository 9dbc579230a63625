"""The context that a streaming handler sees: the transport's own, whose `read` and `write` speak messages, not bytes."""

from collections.abc import Callable
from typing import Any

from grpc import aio


class StreamContext:
    """Hands everything on to the transport's context, except for the two methods that carry messages."""

    __slots__ = ("_context", "_decode", "_encode")

    def __init__(self, context: Any, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> None:
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
