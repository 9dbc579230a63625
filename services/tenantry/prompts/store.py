"""What prompts needs of its store. Errors: StoreUnavailable (transient), StoreFailed, and the refusals named here."""

from typing import Protocol

from tenantry.kit.owner import Tenant
from tenantry.prompts.prompt import Prompt, Revision, Source


class PromptStore(Protocol):
    """A tenant's prompts. Revisions are written once; `version` guards every change of a prompt."""

    async def find_tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant, if it was provisioned here."""
        ...

    async def add_tenant(self, tenant: Tenant, tier: str, prompt: str, source: Source) -> bool:
        """Begins to serve the tenant, with one prompt; False if it is served already."""
        ...

    async def remove_tenant(self, tenant: Tenant) -> int | None:
        """Deletes the tenant's prompts and says how many there were; None if it was not served."""
        ...

    async def create(self, tenant: Tenant, prompt: str, source: Source, author: str) -> Prompt:
        """Makes a prompt with revision 1. AlreadyExists; ResourceExhausted at the tenant's limit."""
        ...

    async def revise(self, tenant: Tenant, prompt: str, source: Source, author: str, version: int) -> Prompt:
        """Adds a revision and points `production` at it. NotFound, Aborted, ResourceExhausted."""
        ...

    async def point(self, tenant: Tenant, prompt: str, revision: int, version: int) -> Prompt:
        """Points `production` at a revision. NotFound, Aborted."""
        ...

    async def delete(self, tenant: Tenant, prompt: str, version: int) -> None:
        """Deletes a prompt with its revisions. NotFound, Aborted."""
        ...

    async def get(self, tenant: Tenant, prompt: str, revision: int) -> tuple[Prompt, Revision]:
        """A prompt and one of its revisions, 0 for production's. NotFound; FailedPrecondition without the tenant."""
        ...

    async def list_prompts(self, tenant: Tenant, after: str, most: int) -> list[Prompt]:
        """Up to `most` prompts whose names sort after `after`."""
        ...

    async def list_revisions(self, tenant: Tenant, prompt: str, before: int, most: int) -> list[Revision]:
        """Up to `most` revisions with numbers below `before`, newest first. NotFound without the prompt."""
        ...
