"""The HTTP client for addresses that tenants name (under both SDKs, and for issuers): bounded pools and answers, no redirects,
no proxies, only connections to allowed addresses.

A name is looked up here and the connection made to an address that was checked, so that a name which a tenant's admin
registered can't lead to a private network, whatever it resolves to and when. Imported in a thread, like the SDKs.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from functools import cache
from typing import Any, cast

import httpcore2
import httpx2

from tenantry.kit.addresses import is_loopback, is_public

MOST_CONNECTIONS = 1000
MOST_IDLE = 100
IDLE_S = 30.0
WRITE_S = 30.0
# Of an answer; an event stream has some hundred bytes a token. What is longer is broken off, before it fills the memory.
MOST_BYTES = 8 * 1024 * 1024
MOST_STREAMED_BYTES = 32 * 1024 * 1024

# Below WARNING they log what is asked and answered, and the SDKs take their level from the environment.
_TALKATIVE = ("openai", "anthropic", "httpx2", "httpcore2")


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that `allowed` is true of, and to no other."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._allowed = allowed
        # The package shows it to type checkers as its stand-in for when anyio is missing.
        self._plain = cast(httpcore2.AsyncNetworkBackend, httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise httpcore2.ConnectTimeout("looking up the name took too long") from None
        except OSError:
            raise httpcore2.ConnectError("the name can't be looked up") from None
        addresses = [str(one[4][0]) for one in found]
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise httpcore2.ConnectError("the name leads to an address that is not allowed")
        return await self._plain.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Bounded(httpx2.AsyncByteStream):
    """An answer's bytes, up to `most`."""

    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream = stream
        self._left = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._left -= len(part)
            if self._left < 0:
                raise httpx2.DecodingError("the answer is too long")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Transport(httpx2.AsyncHTTPTransport):
    """The usual transport, but for how it connects and how much it reads: httpx has no parameters for that."""

    def __init__(self, allowed: Callable[[str], bool], most_bytes: int) -> None:
        self._most_bytes = most_bytes
        limits = httpx2.Limits(
            max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_IDLE, keepalive_expiry=IDLE_S
        )
        super().__init__(verify=_tls(), trust_env=False, limits=limits)
        self._pool._network_backend = CheckedBackend(allowed)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # A packed answer may unpack to any size.
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.DecodingError("the answer is packed, which was not asked for")
        is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, MOST_STREAMED_BYTES if is_stream else self._most_bytes)
        return response


def http_client(*, loopback: bool, most_bytes: int = MOST_BYTES) -> httpx2.AsyncClient:
    """A client of its own pool. With `loopback` it may connect to this machine too."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)

    def allowed(address: str) -> bool:
        return is_public(address) or (loopback and is_loopback(address))

    return httpx2.AsyncClient(transport=_Transport(allowed, most_bytes), follow_redirects=False, trust_env=False)


class Unreadable(Exception):
    """There is no whole answer of status 200 within the limits."""


async def read(client: httpx2.AsyncClient, url: str) -> bytes:
    """The answer to a GET."""
    try:
        answer = await client.get(url)
    except (httpx2.HTTPError, httpx2.InvalidURL):
        raise Unreadable from None
    if answer.status_code != 200:
        raise Unreadable
    return answer.content


def timeout(connect_s: float) -> httpx2.Timeout:
    """Limits of the connection alone; how long an answer may take is the attempt's own matter."""
    return httpx2.Timeout(None, connect=connect_s, pool=connect_s, write=WRITE_S)


@cache
def _tls() -> ssl.SSLContext:
    # Reading the authorities takes tens of milliseconds, and all clients trust the same.
    return httpx2.create_ssl_context(trust_env=False)
