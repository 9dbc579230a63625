"""Reads the ledger for those who may: sums over a time, and entries, of one tenant."""

from collections.abc import Sequence

from tenantry.insight.entries import MOST_GROUPS, Entry, Grouping, Position, Sums, rest_of
from tenantry.insight.store import Ledger
from tenantry.kit.clock import Clock
from tenantry.kit.errors import InvalidArgument
from tenantry.kit.owner import Tenant

_DAY_US = 86_400_000_000
_USUAL_US = 30 * _DAY_US
# So that one question reads a year of entries at most.
LONGEST_US = 366 * _DAY_US
_LONGEST_REQUEST_ID = 256
_NO_END = 2**62


class UsageReading:
    """What the ledger says of a tenant."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def sums(
        self, tenant: Tenant, start_us: int | None, end_us: int | None, grouping: Grouping | None, most: int = 0
    ) -> tuple[Sums, Sequence[Sums], Sums | None]:
        """The total, the busiest groups by name (`most`, 0 for as many as may be) and the rest as one, from `start_us` (30
        days before the end) until before `end_us` (no end)."""
        if not 0 <= most <= MOST_GROUPS:
            raise InvalidArgument("most_groups", f"is not within 0 and {MOST_GROUPS}")
        end = round(self._clock.now() * 1e6) if end_us is None else end_us
        start = end - _USUAL_US if start_us is None else start_us
        if start >= end:
            raise InvalidArgument("start_time", "is not before end_time")
        if end - start > LONGEST_US:
            raise InvalidArgument("start_time", "is more than 366 days before the end")
        # Entries bear the time of the books, which may be a little ahead of ours.
        total, groups = await self._ledger.sums(tenant, start, _NO_END if end_us is None else end, grouping)
        named = groups[: most or MOST_GROUPS]
        return total, named, rest_of(total, named) if grouping is not None else None

    async def entries(
        self, tenant: Tenant, request_id: str, before: Position | None, size: int
    ) -> tuple[Sequence[Entry], Position | None]:
        """A page of entries, newest first, and where it ended if there are more."""
        if len(request_id) > _LONGEST_REQUEST_ID or "\0" in request_id:
            raise InvalidArgument("request_id", "is not the id of a request")
        found = await self._ledger.entries(tenant, request_id, before, size + 1)
        page = found[:size]
        more = Position(page[-1].settled_us, page[-1].reservation) if len(found) > size else None
        return page, more
