"""When keys were last used: gathered in memory, and written down twice a minute, far from anybody's request.

Of two replicas that saw a key the later time stays. What a process that is killed had gathered is lost.
"""

import asyncio
import logging

from tenantry.kit.clock import Clock
from tenantry.kit.errors import TenantryError
from tenantry.tenancy.store import PLATFORM, Store

log = logging.getLogger(__name__)

EVERY_S = 30.0
# More keys than this within half a minute are noted at their next use after it.
MOST_GATHERED = 50_000
# In one transaction, so that no other writer waits for long.
AT_ONCE = 500


class LastUse:
    """Gathers uses and writes them. `run` belongs to the room's background."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._gathered: dict[str, int] = {}

    def note(self, key_id: str) -> None:
        """Remembers that the key was used now."""
        if key_id in self._gathered or len(self._gathered) < MOST_GATHERED:
            self._gathered[key_id] = self._clock.now_ns()

    async def flush(self) -> None:
        """Writes what was gathered; what can't be written now is tried again."""
        gathered, self._gathered = self._gathered, {}
        uses = list(gathered.items())
        for first in range(0, len(uses), AT_ONCE):
            try:
                async with self._store.write() as tx:
                    await tx.keys.used(PLATFORM, uses[first : first + AT_ONCE])
            except BaseException:
                self._gathered = dict(uses[first:]) | self._gathered
                raise

    async def run(self) -> None:
        """Flushes for ever, and once more at the end."""
        try:
            while True:
                await self._clock.sleep(EVERY_S)
                await self._try_flush()
        finally:
            await asyncio.shield(self._try_flush())

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except TenantryError as error:
            log.warning("the last use of keys can't be written down: %s", error.message)
