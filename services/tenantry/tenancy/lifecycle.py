"""How the services of the mesh are asked to begin or end with a tenant."""

from typing import Protocol

from tenantry.kit import owner

# No call outlives the claim of the worker that made it (see `onboarding`).
CALL_S = 10.0


class Lifecycle(Protocol):
    """Each call may be repeated, takes CALL_S at most, and returns a sentence on what was done."""

    async def provision(self, owner: owner.Tenant, service: str, tier: str) -> str: ...
    async def deprovision(self, owner: owner.Tenant, service: str) -> str: ...
