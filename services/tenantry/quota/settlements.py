"""The outbox on its way to the ledger: each entry at least once, in each bucket's order, until it is acknowledged."""

import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence

from tenantry.kit.clock import Clock
from tenantry.kit.errors import InvalidArgument, TenantryError
from tenantry.kit.owner import Platform
from tenantry.quota.entries import Batch, Cursor
from tenantry.quota.store import ENTRIES_A_BATCH, Books, Outbox

log = logging.getLogger(__name__)

# An entry is seen after two of these at most: until it is announced and until the reader looks. What comes meanwhile is one
# batch, since a transaction of the ledger costs as much as many entries.
LOOK_EVERY_S = 0.25
# Hints may be lost with their replica, so all buckets are looked at from time to time.
LOOK_AT_ALL_EVERY_S = 5.0
SWEEP_EVERY_S = 2.0
_BUCKETS_AT_ONCE = 16
_POSITION = re.compile(r"[0-9]{1,16}-[0-9]{1,16}")
_PLATFORM = Platform()


class Settlements:
    """Reads and acknowledges for one reader of the ledger; several would each get everything."""

    def __init__(self, outbox: Outbox, clock: Clock, buckets: int) -> None:
        self._outbox = outbox
        self._clock = clock
        self._buckets = buckets

    async def batches(self) -> AsyncGenerator[Batch]:
        """All that is not acknowledged, then what comes, without end. After a failover again all that is not acknowledged."""
        sent: dict[int, Cursor] = {}
        since = 0
        looked_at_all = -LOOK_AT_ALL_EVERY_S
        while True:
            grown, since = await self._outbox.grown(_PLATFORM, since)
            if self._clock.monotonic() - looked_at_all >= LOOK_AT_ALL_EVERY_S:
                looked_at_all = self._clock.monotonic()
                grown = range(self._buckets)
            async for batch in self._read(grown, sent):
                yield batch
            await self._clock.sleep(LOOK_EVERY_S)

    async def acknowledge(self, cursors: Sequence[Cursor]) -> None:
        """Delete what the reader has stored. What it has from before a failover it gets again, and acknowledges then."""
        for place, cursor in enumerate(cursors):
            if not 0 <= cursor.bucket < self._buckets:
                raise InvalidArgument(f"cursors[{place}].bucket", f"is not within 0 and {self._buckets - 1}")
            if _POSITION.fullmatch(cursor.position) is None:
                raise InvalidArgument(f"cursors[{place}].position", "is not a position that this RPC gave")
        newest = {(cursor.bucket, cursor.epoch): cursor for cursor in sorted(cursors, key=_order)}
        await self._outbox.acknowledge(_PLATFORM, list(newest.values()))

    async def _read(self, grown: Collection[int], sent: dict[int, Cursor]) -> AsyncIterator[Batch]:
        """Everything new in these buckets, a few buckets at a time. Behind a full batch there may be more."""
        waiting = list(grown)
        while waiting:
            now, waiting = waiting[:_BUCKETS_AT_ONCE], waiting[_BUCKETS_AT_ONCE:]
            for batch in await self._outbox.read(_PLATFORM, [sent.get(bucket, Cursor(bucket)) for bucket in now]):
                yield batch
                sent[batch.cursor.bucket] = batch.cursor
                if len(batch.entries) >= ENTRIES_A_BATCH:
                    waiting.append(batch.cursor.bucket)


class Upkeep:
    """What each replica does beside its calls. Sweeps need no claim: two at once do no more than one."""

    def __init__(self, books: Books, outbox: Outbox, clock: Clock) -> None:
        self._books = books
        self._outbox = outbox
        self._clock = clock

    async def announce(self) -> None:
        """Tell readers, for ever, which buckets have grown."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            await self._quietly("announcing settled usage", self._outbox.announce)

    async def sweep(self) -> None:
        """End holds that nobody renews, for ever, in buckets that nobody calls too."""
        while True:
            await self._clock.sleep(SWEEP_EVERY_S)
            await self._quietly("sweeping", self._books.sweep)

    async def _quietly(self, what: str, work: Callable[[Platform], Awaitable[object]]) -> None:
        """A failure is logged, and the next turn tries again."""
        try:
            await work(_PLATFORM)
        except TenantryError as error:
            log.warning("%s failed: %s", what, error.message)


def _order(cursor: Cursor) -> tuple[int, int]:
    milliseconds, _, sequence = cursor.position.partition("-")
    return int(milliseconds), int(sequence)
