"""A tenant's limits and use, for its callers and for administrators."""

from collections.abc import Awaitable, Callable

from tenantry.kit.caller import Caller, may_name
from tenantry.kit.errors import InvalidArgument, NotFound, Reason
from tenantry.kit.ids import check_tenant_id
from tenantry.kit.owner import Tenant
from tenantry.quota.entries import Limits, TenantLimits, Use
from tenantry.quota.store import Books, Tenants
from tenantry.quota.tiers import check_overrides, limits_of


class QuotaLimits:
    """`find` gives a tenant from the memory that `changed` drops it from."""

    def __init__(
        self,
        tenants: Tenants,
        books: Books,
        find: Callable[[str], Awaitable[TenantLimits | None]],
        changed: Callable[[str], None],
    ) -> None:
        self._tenants = tenants
        self._books = books
        self._find = find
        self._changed = changed

    async def get(self, caller: Caller, tenant: str) -> tuple[Limits, TenantLimits]:
        """The limits as they apply, and what they come from; read from SQL, so that a write may name the version."""
        found = await self._named(caller, tenant, self._tenants.find)
        return limits_of(found.tier, found.overrides), found

    async def use(self, caller: Caller, tenant: str) -> tuple[Limits, Use]:
        """The limits as they apply, and how much of each is free now."""
        found = await self._named(caller, tenant, self._find)
        limits = limits_of(found.tier, found.overrides)
        return limits, await self._books.use(Tenant(found.organisation, found.tenant), limits)

    async def override(self, caller: Caller, tenant: str, overrides: Limits, version: int) -> tuple[Limits, int]:
        """Replace the tenant's own limits: what applies from now on, and the new version."""
        if not tenant:
            raise InvalidArgument("tenant", "is missing")
        found = await self._named(caller, tenant, self._tenants.find)
        check_overrides(overrides)
        if version < 0:
            raise InvalidArgument("version", "is below 0")
        new = await self._tenants.override(Tenant(found.organisation, found.tenant), overrides, version)
        self._changed(found.tenant)
        return limits_of(found.tier, overrides), new

    async def _named(
        self, caller: Caller, tenant: str, find: Callable[[str], Awaitable[TenantLimits | None]]
    ) -> TenantLimits:
        """The tenant that the request names, the caller's own if none; NOT_FOUND unless the caller may name it."""
        id = check_tenant_id(tenant or caller.tenant)
        found = await find(id)
        if found is None or not may_name(caller, Tenant(found.organisation, found.tenant)):
            raise NotFound(Reason.NOT_FOUND, "there is no such tenant", kind="tenant")
        return found
