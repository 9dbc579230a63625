"""Tells the services of the mesh who was revoked, from the tables alone: so every replica tells the same."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from tenantry.kit.clock import Clock
from tenantry.kit.errors import TenantryError
from tenantry.kit.revocations import KEEP_S
from tenantry.tenancy.records import Revocation
from tenantry.tenancy.store import PLATFORM, REVOCATION_CHANGES, Store

log = logging.getLogger(__name__)

MOST_AT_ONCE = 1000
_TRIM_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Told:
    """What one look into the tables found. `pong` is the last ping that came before it, 0 if there is more to find."""

    pong: int
    revocations: tuple[Revocation, ...]


class _Watcher:
    """One stream: the ping it has to answer, and whether somebody may have been revoked since it looked."""

    def __init__(self, pings: AsyncIterator[int], clock: Clock) -> None:
        self._clock = clock
        self._wake = asyncio.Event()
        self._ping = 0
        self._came_at = 0.0
        self._answerable = 0
        self._answered = 0
        self.changed = True
        self.reading = asyncio.create_task(self._read(pings))
        # A stream that breaks off breaks off here too, and nobody else wants to know.
        self.reading.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _read(self, pings: AsyncIterator[int]) -> None:
        try:
            async for self._ping in pings:
                self._came_at = self._clock.monotonic()
                if self.changed:
                    self._wake.set()
        finally:
            self._wake.set()

    def change(self) -> None:
        """Somebody may have been revoked."""
        self.changed = True
        self._wake.set()

    def confirm(self, asked_at: float) -> None:
        """All that was revoked before that monotonic time was heard of."""
        if self._ping != self._answered and self._came_at <= asked_at:
            self._answerable = self._ping
            self._wake.set()

    def look(self) -> int:
        """The last ping that came before a look that begins now."""
        self.changed = False
        self._answerable, self._answered = 0, self._ping
        return self._ping

    def answer(self) -> int:
        """The ping that can be answered without a look, once; else 0."""
        pong, self._answerable = self._answerable, 0
        self._answered = pong or self._answered
        return pong

    async def wait(self) -> bool:
        """Returns when there is something to look for or to answer; whether no more pings come."""
        await self._wake.wait()
        self._wake.clear()
        return self.reading.done()


class RevocationFeed:
    """Serves the streams. Beside the memories it hears of changes, those of this process and those that the poller finds.

    A stream looks into the tables when it begins and when somebody was revoked. In quiet times its pings are answered by
    the poller's next question, which is one for all streams.
    """

    kind = REVOCATION_CHANGES

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._watchers: set[_Watcher] = set()

    async def watch(self, pings: AsyncIterator[int]) -> AsyncGenerator[Told]:
        """All that still matters, then what comes. A look that fails ends it."""
        watcher = _Watcher(pings, self._clock)
        self._watchers.add(watcher)
        number = 0
        try:
            while True:
                ended = await watcher.wait()
                while watcher.changed:
                    pong = watcher.look()
                    async with self._store.read() as tx:
                        found = await tx.revocations.after(PLATFORM, number, MOST_AT_ONCE)
                    more = len(found) == MOST_AT_ONCE
                    if found or pong:
                        yield Told(0 if more else pong, found)
                    if more:
                        watcher.change()
                    number = found[-1].number if found else number
                if pong := watcher.answer():
                    yield Told(pong, ())
                if ended:
                    return
        finally:
            self._watchers.discard(watcher)
            watcher.reading.cancel()

    def drop(self, key: str) -> None:
        """Somebody was revoked."""
        self.drop_all()

    def drop_all(self) -> None:
        """Somebody may have been revoked."""
        for watcher in self._watchers:
            watcher.change()

    def confirm(self, asked_at: float) -> None:
        """The log of changes was read, and what it told was dropped."""
        for watcher in self._watchers:
            watcher.confirm(asked_at)

    async def trim_for_ever(self) -> None:
        """Forgets now and then what no assertion is left for."""
        while True:
            try:
                async with self._store.write() as tx:
                    await tx.revocations.trim(PLATFORM, self._clock.now_ns() - round(KEEP_S * 1e9))
            except TenantryError as error:
                log.warning("old revocations can't be trimmed: %s", error.message)
            await self._clock.sleep(_TRIM_EVERY_S)
