"""Whose documents are being cut, embedded and stored now: so many in all, few of one tenant, so that none waits behind
all that another has sent."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tenantry.kit.owner import Tenant


class _Waiting:
    def __init__(self, most: int) -> None:
        self.turns = asyncio.Semaphore(most)
        self.users = 0


class Turns:
    """At most `in_all` turns at once, `of_one` of them a tenant's."""

    def __init__(self, in_all: int, of_one: int) -> None:
        self._all = asyncio.Semaphore(in_all)
        self._of_one = of_one
        self._tenants: dict[str, _Waiting] = {}

    @asynccontextmanager
    async def turn(self, tenant: Tenant) -> AsyncGenerator[None]:
        """Waits for a turn and holds it for the block."""
        waiting = self._tenants.setdefault(tenant.id, _Waiting(self._of_one))
        waiting.users += 1
        try:
            async with waiting.turns, self._all:
                yield
        finally:
            waiting.users -= 1
            if not waiting.users:
                del self._tenants[tenant.id]
