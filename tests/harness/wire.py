"""A TCP connection's way that a test can cut: a proxy on the loopback in front of a server.

async with wire("127.0.0.1:7701") as line:
    connect to line.address
    line.hold()     # nothing gets through any more, and nobody is told
    line.release()  # what waited arrives, and what follows
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Wire:
    """The way to one server."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._open = asyncio.Event()
        self._open.set()
        self._ways: set[asyncio.Task[None]] = set()
        self.address = ""

    def hold(self) -> None:
        """Keeps everything back; connections stay open."""
        self._open.clear()

    def release(self) -> None:
        """Lets through what waited."""
        self._open.set()

    async def start(self) -> asyncio.Server:
        """Begins to take connections."""
        server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def end(self) -> None:
        """Closes all connections."""
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, back), (there, writer)):
            way = asyncio.create_task(self._carry(source, sink))
            self._ways.add(way)
            way.add_done_callback(self._ways.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


@asynccontextmanager
async def wire(target: str) -> AsyncIterator[Wire]:
    """A way to `host:port` while the block runs."""
    line = Wire(target)
    server = await line.start()
    try:
        yield line
    finally:
        server.close()
        await line.end()
