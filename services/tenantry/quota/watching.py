"""A pool as people see it: what runs and waits there, as far as the caller may know."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from tenantry.kit.caller import Caller, may_name
from tenantry.kit.clock import Clock
from tenantry.kit.errors import NotFound, Reason
from tenantry.kit.ids import check_tenant_id
from tenantry.kit.owner import Pool, Tenant
from tenantry.quota.entries import TenantLimits
from tenantry.quota.pools import check_name
from tenantry.quota.slot import PoolSettings, Row, Use
from tenantry.quota.store_queue import Queues

LOOK_EVERY_S = 1.0


class Watching:
    """`find` gives a tenant's limits and `settings` a pool's, from memory."""

    def __init__(
        self,
        queues: Queues,
        find: Callable[[str], Awaitable[TenantLimits | None]],
        settings: Callable[[Pool], Awaitable[PoolSettings]],
        clock: Clock,
    ) -> None:
        self._queues = queues
        self._find = find
        self._settings = settings
        self._clock = clock

    async def watch(
        self, caller: Caller, pool: str, tenant: str
    ) -> AsyncGenerator[tuple[Use | None, Sequence[Row]], None]:
        """The pool now, and again whenever it has changed, without end. What all hold together is for operators alone."""
        owner = Pool(check_name(pool, "pool"))
        named = await seen_by(caller, tenant, self._find)
        name = named.id if named is not None else ""
        shown: tuple[Use | None, Sequence[Row]] | None = None
        while True:
            use, rows = await self._queues.watch(owner, name, await self._settings(owner))
            now = (use if _is_operator(caller) else None, rows)
            if now != shown:
                shown = now
                yield now
            await self._clock.sleep(LOOK_EVERY_S)


async def seen_by(caller: Caller, tenant: str, find: Callable[[str], Awaitable[TenantLimits | None]]) -> Tenant | None:
    """Whom a request shows that names this tenant, or "": the caller's own; None says all, for an operator. NOT_FOUND unless the
    caller may name it."""
    if _is_operator(caller) and not tenant:
        return None
    found = await find(check_tenant_id(tenant or caller.tenant))
    if found is None or not may_name(caller, owner := Tenant(found.organisation, found.tenant)):
        raise NotFound(Reason.NOT_FOUND, "there is no such tenant", kind="tenant")
    return owner


def _is_operator(caller: Caller) -> bool:
    return not caller.tenant and not caller.organisation
