"""Reads traces for the tenant whose they are, and begins and ends to keep them."""

import re
from collections.abc import Sequence

from tenantry.insight.spans import Position, Span, Trace
from tenantry.insight.store import Traces
from tenantry.kit.errors import InvalidArgument, NotFound, Reason
from tenantry.kit.owner import Tenant

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DELETED_AT_ONCE = 500


class TraceReading:
    """A tenant's traces: of each no more than the spans that are the tenant's own."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def get(self, tenant: Tenant, trace_id: str) -> tuple[Trace, Sequence[Span]]:
        """A trace by its id or its request's. NotFound, also for what is another tenant's."""
        if not trace_id:
            raise InvalidArgument("trace_id", "is missing")
        if _ID.fullmatch(trace_id) is None:
            raise InvalidArgument("trace_id", "is neither the id of a trace nor of a request")
        found = await self._traces.find(tenant, trace_id)
        if found is None:
            raise NotFound(Reason.NOT_FOUND, "there is no such trace, or not any more", kind="trace")
        return found

    async def page(self, tenant: Tenant, before: Position | None, size: int) -> tuple[Sequence[Trace], Position | None]:
        """A page of traces, newest first, and where it ended if there are more."""
        found = await self._traces.traces(tenant, before, size + 1)
        page = found[:size]
        more = Position(page[-1].start_ns, page[-1].trace_id) if len(found) > size else None
        return page, more

    async def provision(self, tenant: Tenant, tier: str) -> str:
        """Begins to keep the tenant's traces."""
        return "keeps traces" if await self._traces.add_tenant(tenant, tier) else "nothing to do"

    async def deprovision(self, tenant: Tenant) -> str:
        """Deletes the tenant's traces, a part at a time. The ledger is not touched: it is the audit of what was paid."""
        served = await self._traces.remove_tenant(tenant)  # first, so that no further spans are kept
        deleted = 0
        while now := await self._traces.delete(tenant, _DELETED_AT_ONCE):
            deleted += now
        if not served and not deleted:
            return "nothing to do"
        return f"deleted {deleted} traces; the entries of the usage ledger stay"
