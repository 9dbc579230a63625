"""What insight needs of its store. Errors: StoreUnavailable (transient) and StoreFailed, raised by every method."""

from collections.abc import Sequence
from typing import Protocol

from tenantry.insight import entries, spans
from tenantry.insight.entries import Batch, Entry, Grouping, Sums
from tenantry.insight.spans import Span, Trace
from tenantry.insight.usage_chain import Digest, Link
from tenantry.kit.owner import Platform, Tenant


class Jobs(Protocol):
    """Background jobs that one replica does at a time. A claim ends by itself when its holder dies."""

    async def claim(self, owner: Platform, job: str, seconds: float) -> bool:
        """Takes or keeps the job; False while it is another's."""
        ...

    async def release(self, owner: Platform, job: str) -> None:
        """Gives the job back."""
        ...


class Ledger(Protocol):
    """The usage ledger, a hash chain a tenant. A true settlement takes the place of an estimate, which stays in the chain."""

    async def enter(self, owner: Platform, batch: Batch, job: str, seconds: float) -> bool:
        """Keeps a batch and how far it reaches, and keeps the job; False, and nothing kept, if the job is another's."""
        ...

    async def find_tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant, if it was provisioned here or has entries."""
        ...

    async def sums(
        self, owner: Tenant, start_us: int, end_us: int, grouping: Grouping | None
    ) -> tuple[Sums, Sequence[Sums]]:
        """The total of the entries from `start_us` until before `end_us`, and their groups, those with most requests."""
        ...

    async def entries(
        self, owner: Tenant, request_id: str, before: entries.Position | None, most: int
    ) -> Sequence[Entry]:
        """Up to `most` entries, newest first, of one request if `request_id` is not empty."""
        ...


class Chain(Protocol):
    """The tenants' chains of usage entries."""

    async def links(
        self, owner: Tenant, after: int, most: int
    ) -> tuple[Sequence[Link], Sequence[Digest], Digest | None]:
        """Up to `most` entries with greater numbers, replaced estimates too, the digests of their batches, and the last digest
        there is, all at one moment."""
        ...


class Traces(Protocol):
    """Spans by tenant and trace."""

    async def add_tenant(self, owner: Tenant, tier: str) -> bool:
        """Begins to keep the tenant's spans; False if they are kept already."""
        ...

    async def remove_tenant(self, owner: Tenant) -> bool:
        """Keeps no more spans of the tenant; False if none were kept."""
        ...

    async def add(self, owner: Platform, found: Sequence[Span]) -> int:
        """Keeps the spans of tenants that are served here, each once; how many were new."""
        ...

    async def find(self, owner: Tenant, trace_id: str) -> tuple[Trace, Sequence[Span]] | None:
        """A trace by its id or by its request's, as far as it is the owner's."""
        ...

    async def traces(self, owner: Tenant, before: spans.Position | None, most: int) -> Sequence[Trace]:
        """Up to `most` traces, newest first."""
        ...

    async def delete(self, owner: Tenant, most: int) -> int:
        """Deletes up to `most` of the owner's traces, oldest first; how many."""
        ...

    async def delete_older(self, owner: Platform, stored_before: float, most: int) -> int:
        """Deletes up to `most` traces whose first span was stored before that Unix time; how many."""
        ...

    async def delete_surplus(self, owner: Platform, spans: int, most: int) -> int:
        """If there are more than so many spans, deletes up to `most` traces of the tenant that has the most; how many."""
        ...
