"""Tenants come and go: what tenancy asks of quota."""

from collections.abc import Callable

from tenantry.kit.owner import Tenant
from tenantry.quota.store import Books, Tenants


class TenantLifecycle:
    """`changed` drops a tenant from this replica's memory at once; the others' drop it by the change log."""

    def __init__(self, tenants: Tenants, books: Books, changed: Callable[[str], None]) -> None:
        self._tenants = tenants
        self._books = books
        self._changed = changed

    async def provision(self, owner: Tenant, tier: str) -> str:
        """Serve the tenant with its tier's limits."""
        added = await self._tenants.add(owner, tier)
        self._changed(owner.id)
        return f"set the limits of tier {tier}" if added else "nothing to do"

    async def deprovision(self, owner: Tenant) -> str:
        """Serve it no more and forget what was counted. Usage that waits for the ledger stays, and what is settled
        later for a hold that is running now is still recorded. Repeated, it finishes what a failure left."""
        removed = await self._tenants.remove(owner)
        self._changed(owner.id)
        lapsed = await self._books.forget(owner)
        return f"deleted limits and counters, {lapsed} holds ended" if removed or lapsed else "nothing to do"
