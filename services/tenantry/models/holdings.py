"""What the request path needs to know of a tenant, from memory: no SQL while it is remembered."""

from collections.abc import Collection

from tenantry.kit.memory import Memory
from tenantry.kit.owner import Platform, Tenant
from tenantry.models.model import PLATFORM_KEY, Holdings, key_of
from tenantry.models.routing import Reach
from tenantry.models.store import ModelStore


class Reaches:
    """Makes what a caller can reach out of two remembered holdings, the platform's and the tenant's."""

    def __init__(self, holdings: Memory[Holdings]) -> None:
        self._holdings = holdings

    async def of(self, tenant: Tenant, key_models: Collection[str]) -> Reach:
        """What a key of the tenant, restricted to `key_models` unless that is empty, can reach."""
        own = await self._holdings.get(key_of(tenant))
        return Reach(await self._holdings.get(PLATFORM_KEY), own, key_models)

    def forget(self, owner: Tenant | Platform) -> None:
        """This replica forgets at once, so that a writer sees its own write; the others with the change log."""
        self._holdings.drop(key_of(owner))


async def load_holdings(store: ModelStore, key: str) -> Holdings:
    """What the memory loads for a key."""
    return await store.load(Platform() if key == PLATFORM_KEY else Tenant("", key))
