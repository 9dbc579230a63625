"""One Redis server behind a few shared connections, whose calls survive their caller's cancellation.

Nothing is repeated behind the caller's back, because what was sent may have run.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Any, TypeVar

from tenantry.kit.errors import StoreUnavailable
from tenantry.kit.redis_faults import translate
from tenantry.kit.redis_link import Link, Target, open_link
from tenantry.kit.redis_script import Arg, Script, reply_of

T = TypeVar("T")

# How long a call may wait for a connection and for room to send, and how long for the server's answer.
WAIT_S = 1.0
ANSWER_S = 5.0
# How many calls may be under way on one connection; more are refused at once.
MOST_DUE = 4096


class Server:
    """One server. `store` is our name for it in errors: `books` or `cache`."""

    def __init__(self, target: Target, store: str, connections: int) -> None:
        self._target = target
        self._store = store
        self._links: list[Link | None] = [None] * connections
        self._opening: dict[int, asyncio.Task[Link]] = {}
        self._next = 0

    async def execute(self, *command: Arg) -> Any:
        return self._checked((await self.replies([command]))[0])

    async def pipeline(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        return [self._checked(reply) for reply in await self.replies(commands)]

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg] = ()) -> Any:
        return self._checked(await reply_of(script, keys, args, self.replies))

    async def replies(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """What the server answers to each, in one trip: errors are values, since a cluster's may say where to go."""
        link = await self._link()
        if len(commands) == 1:  # nearly all are, and gathering one costs as much as sending it
            return [await link.send(*commands[0])]
        return await asyncio.gather(*(link.send(*command) for command in commands))

    async def scan(self, pattern: str, count: int = 500) -> AsyncGenerator[bytes]:
        cursor = b"0"
        while True:
            cursor, found = await self.execute("SCAN", cursor, "MATCH", pattern, "COUNT", count)
            for key in found:
                yield key
            if cursor == b"0":
                return

    async def servers(self) -> "Sequence[Server]":
        return [self]

    async def ping(self) -> None:
        await self.execute("PING")

    @property
    def busy(self) -> int:
        return sum(link.due for link in self._links if link is not None)

    async def close(self) -> None:
        for link in self._links:
            if link is not None:
                link.lose()
        for opening in list(self._opening.values()):
            opening.cancel()
        await asyncio.sleep(0)  # the event loop tells the links in its next turn

    async def _link(self) -> Link:
        """The next connection in turn, opened if it is not there. A call may still be cancelled for free here."""
        self._next = (self._next + 1) % len(self._links)
        link = self._links[self._next]
        if link is None or not link.is_alive:
            link = await self._open(self._next)
        if not link.writable.is_set():
            await self._in_time(link.writable.wait())
        if link.due >= MOST_DUE:
            raise StoreUnavailable(self._store, away=False)
        return link

    async def _open(self, place: int) -> Link:
        """One attempt at a time for each place, whoever asks and whoever goes."""
        opening = self._opening.get(place)
        if opening is None:
            opening = self._opening[place] = asyncio.create_task(self._in_time(open_link(self._target, ANSWER_S)))
            opening.add_done_callback(lambda task: self._opened(place, task))
        return await asyncio.shield(opening)

    def _opened(self, place: int, task: asyncio.Task[Link]) -> None:
        del self._opening[place]
        if not task.cancelled() and task.exception() is None:
            self._links[place] = task.result()

    async def _in_time(self, waiting: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(WAIT_S):
                return await waiting
        except Exception as error:
            raise translate(error, self._store) from None

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, Exception):
            raise translate(reply, self._store) from None
        return reply
