"""How often tenants were refused in the last minute, whichever replica refused them.

Each replica counts in memory and adds that to the books once a second, so that a flood of refusals costs them one call a second.
What was refused while they were away is dropped, since later it would be told as of that time.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import TenantryError
from tenantry.kit.owner import Platform
from tenantry.quota.entries import TenantLimits
from tenantry.quota.presence import Presence
from tenantry.quota.store import Refusals
from tenantry.quota.watching import seen_by

log = logging.getLogger(__name__)

ADD_EVERY_S = 1.0
# That a replica counts within that time, and that are listed.
MOST_TENANTS = 100_000
MOST_LISTED = 200
_PLATFORM = Platform()


class RefusalCounts:
    """`find` gives a tenant's limits from memory."""

    def __init__(
        self,
        refusals: Refusals,
        presence: Presence,
        find: Callable[[str], Awaitable[TenantLimits | None]],
        clock: Clock,
    ) -> None:
        self._refusals = refusals
        self._presence = presence
        self._find = find
        self._clock = clock
        self._refused: dict[str, int] = {}
        self._uncounted = 0

    def count(self, tenant: str) -> None:
        """The tenant was refused."""
        if tenant in self._refused or len(self._refused) < MOST_TENANTS:
            self._refused[tenant] = self._refused.get(tenant, 0) + 1
        else:
            self._uncounted += 1

    async def add_up(self) -> None:
        """Add, for ever, what this replica has counted to the books."""
        while True:
            await self._clock.sleep(ADD_EVERY_S)
            refused, uncounted = self._refused, self._uncounted
            self._refused, self._uncounted = {}, 0
            if uncounted:
                log.warning("%d refusals are not counted: of more than %d tenants a second", uncounted, MOST_TENANTS)
            if refused and not self._presence.away:
                await self._add(refused)

    async def _add(self, refused: dict[str, int]) -> None:
        try:
            await self._presence.ask(lambda: self._refusals.add(_PLATFORM, refused))
        except TenantryError as error:
            log.warning("refusals are not counted: %s", error.message)

    async def list(self, caller: Caller, tenant: str) -> Sequence[tuple[str, int]]:
        """Tenants that were refused, with how often, the most often refused first."""
        owner = await seen_by(caller, tenant, self._find)
        if owner is None:
            return await self._presence.ask(lambda: self._refusals.most(_PLATFORM, MOST_LISTED))
        count = await self._presence.ask(lambda: self._refusals.of(owner))
        return [(owner.id, count)] if count else []
