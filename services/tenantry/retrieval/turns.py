"""Whose work is done now: so much in all, little of one tenant, so that none waits behind all that another has sent."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tenantry.kit.owner import Tenant


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
        """Waits for a turn and holds it for the block."""
        waiting = self._tenants.setdefault(tenant.id, _Waiting(self._of_one))
        waiting.users += 1
        try:
            async with waiting.turns, self._places:
                yield
        finally:
            waiting.users -= 1
            if not waiting.users:
                del self._tenants[tenant.id]
