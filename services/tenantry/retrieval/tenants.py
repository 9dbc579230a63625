"""Beginning and ending to keep documents of a tenant, as tenancy asks for it."""

from tenantry.kit.owner import Tenant
from tenantry.retrieval.store import DocumentStore


class Tenants:
    """Nothing else makes a tenant's file or shard, so that none is made by accident."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def provision(self, tenant: Tenant, tier: str) -> str:
        """Ready for documents of the tenant; the tier makes no difference here."""
        made = await self._store.provision(tenant)
        return "made a place for documents" if made else "nothing to do"

    async def deprovision(self, tenant: Tenant) -> str:
        """No documents of the tenant any more."""
        documents = await self._store.deprovision(tenant)
        return "nothing to do" if documents is None else f"deleted {documents} documents"
