"""What models needs of its store. Errors: StoreUnavailable (transient), StoreFailed, and the refusals named here."""

from typing import Protocol

from tenantry.kit.owner import Tenant
from tenantry.models.model import Account, Holdings, Model, Owner, Policy, Provider


class ModelStore(Protocol):
    """Each owner's models, policy and sealed credentials: a tenant's, or the platform's for all tenants."""

    async def find_tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant, if it was provisioned here."""
        ...

    async def add_tenant(self, tenant: Tenant, tier: str) -> bool:
        """Begins to serve the tenant; False if it is served already."""
        ...

    async def remove_tenant(self, tenant: Tenant) -> int | None:
        """Deletes the tenant's models, policy and credentials and says how many models; None if it was not served."""
        ...

    async def load(self, owner: Owner) -> Holdings:
        """All that the owner has. FailedPrecondition without the tenant."""
        ...

    async def providers(self) -> set[Provider]:
        """The providers of all models of all owners."""
        ...

    async def register(self, owner: Owner, model: Model) -> None:
        """Adds a model; the same again changes nothing. AlreadyExists when somebody whom it would meet has the id;
        ResourceExhausted at the limit."""
        ...

    async def deregister(self, owner: Owner, model: str) -> bool:
        """Removes a model; False when there was none."""
        ...

    async def put_policy(self, tenant: Tenant, policy: Policy, version: int) -> int:
        """Replaces the policy that has this version, 0 for none, and gives the new version. Aborted."""
        ...

    async def put_credential(self, owner: Owner, account: Account, sealed: bytes | None) -> None:
        """Sets or, with None, removes a credential. ResourceExhausted at the limit."""
        ...
