"""Whose work is done now: so much in all, little of one tenant, so that none waits behind all that another has sent."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tenantry.kit.errors import Reason, ResourceExhausted
from tenantry.kit.owner import Tenant

# Each that waits keeps its call's seat in the server, of which there are a few thousand for all tenants together.
_MOST_OF_ONE = 256


class _Waiting:
    def __init__(self, most: int) -> None:
        self.turns = asyncio.Semaphore(most)
        self.users = 0


class Turns:
    """Turns for places that all tenants share, `of_one` at a time of each. Who waits for a turn holds no place."""

    def __init__(self, places: asyncio.Semaphore, of_one: int) -> None:
        self._places = places
        self._of_one = of_one
        self._tenants: dict[str, _Waiting] = {}

    @asynccontextmanager
    async def turn(self, tenant: Tenant) -> AsyncGenerator[None]:
        """Waits for a turn and holds it for the block. ResourceExhausted if too many of the tenant wait already."""
        waiting = self._tenants.setdefault(tenant.id, _Waiting(self._of_one))
        if waiting.users >= _MOST_OF_ONE:
            raise ResourceExhausted(
                Reason.SERVER_BUSY, "too many calls of the tenant wait for its documents", retry_after_s=1.0
            )
        waiting.users += 1
        try:
            async with waiting.turns, self._places:
                yield
        finally:
            waiting.users -= 1
            if not waiting.users:
                del self._tenants[tenant.id]
