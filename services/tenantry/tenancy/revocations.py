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


class _Pings:
    """Reads the pings of one stream as they come."""

    def __init__(self, pings: AsyncIterator[int], heard: asyncio.Event) -> None:
        self._heard = heard
        self.last = 0
        self.reading = asyncio.create_task(self._read(pings))
        # A stream that breaks off breaks off here too, and nobody else wants to know.
        self.reading.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _read(self, pings: AsyncIterator[int]) -> None:
        try:
            async for self.last in pings:
                self._heard.set()
        finally:
            self._heard.set()


class RevocationFeed:
    """Serves the streams. Beside the memories it hears of changes, those of this process and those that the poller finds."""

    kind = REVOCATION_CHANGES

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._heard: set[asyncio.Event] = set()

    async def watch(self, pings: AsyncIterator[int]) -> AsyncGenerator[Told]:
        """All that still matters, then what comes. Looks after each ping and each change; a look that fails ends it."""
        heard = asyncio.Event()
        self._heard.add(heard)
        asked = _Pings(pings, heard)
        number = 0
        try:
            while True:
                heard.clear()
                ended, pong = asked.reading.done(), asked.last
                async with self._store.read() as tx:
                    found = await tx.revocations.after(PLATFORM, number, MOST_AT_ONCE)
                more = len(found) == MOST_AT_ONCE
                if found or pong:
                    yield Told(0 if more else pong, found)
                number = found[-1].number if found else number
                if more:
                    continue
                if ended:
                    return
                await heard.wait()
        finally:
            self._heard.discard(heard)
            asked.reading.cancel()

    def drop(self, key: str) -> None:
        """Somebody was revoked."""
        for heard in self._heard:
            heard.set()

    def drop_all(self) -> None:
        """Somebody may have been revoked."""
        self.drop("")

    def confirm(self, asked_at: float) -> None:
        """Nothing is remembered here."""

    async def trim_for_ever(self) -> None:
        """Forgets now and then what no assertion is left for."""
        while True:
            try:
                async with self._store.write() as tx:
                    await tx.revocations.trim(PLATFORM, self._clock.now_ns() - round(KEEP_S * 1e9))
            except TenantryError as error:
                log.warning("old revocations can't be trimmed: %s", error.message)
            await self._clock.sleep(_TRIM_EVERY_S)
