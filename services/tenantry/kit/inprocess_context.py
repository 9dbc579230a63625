"""What a handler sees of an in-process call: the interface of `grpc.aio.ServicerContext`."""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import grpc
from grpc import aio

from tenantry.kit.exchange import Exchange, Pairs
from tenantry.kit.peer import AuthContext

PEER = "inprocess:"


class InProcessContext(aio.ServicerContext[Any, Any]):
    """The server's end of an exchange. `peer` says who is at the other end."""

    def __init__(self, exchange: Exchange, peer: AuthContext) -> None:
        self._exchange = exchange
        self._peer = peer
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._trailing: Pairs = ()

    async def read(self) -> Any:
        message = await self._exchange.requests.get()
        return aio.EOF if message is None else message

    async def write(self, message: bytes) -> None:
        self._exchange.send_initial(())
        await self._exchange.responses.put(message)

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        self._exchange.send_initial(initial_metadata)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        if code is grpc.StatusCode.OK:
            code, details = grpc.StatusCode.UNKNOWN, "abort with OK"
        self._code = code
        self._details = details
        self._exchange.finish(code, details, trailing_metadata or self._trailing)
        raise aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailing = tuple(trailing_metadata)

    def invocation_metadata(self) -> Any:
        return self._exchange.metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Nothing is sent, so nothing is compressed."""

    def disable_next_message_compression(self) -> None:
        """Nothing is sent, so nothing is compressed."""

    def peer(self) -> str:
        return PEER

    def peer_identities(self) -> Iterable[bytes] | None:
        return None

    def peer_identity_key(self) -> str | None:
        return None

    def auth_context(self) -> AuthContext:
        return self._peer

    def time_remaining(self) -> Any:
        return self._exchange.time_remaining()

    def trailing_metadata(self) -> Any:
        return self._trailing

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def cancelled(self) -> bool:
        return self._exchange.code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)

    def done(self) -> bool:
        return self._exchange.code is not None

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._exchange.on_end(lambda: callback(self))
