"""The limit of all calls a minute, asked where a call enters the mesh: whatever it is for, and whether it reserves or not.

Its counters are its own, so that ReserveQuota's limits never count what this one counts. It never waits: a call is counted
or refused. The rule is GCRA (`gcra.py`), where nothing is ever given back; the counter in Redis is `scripts/calls.lua`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from tenantry.kit.errors import Reason, ResourceExhausted
from tenantry.kit.owner import Organisation, Owner, Tenant
from tenantry.quota import gcra
from tenantry.quota.counted_ahead import CountedAhead, told
from tenantry.quota.entries import NO_OVERRIDES, CallLimit, Counted, TenantLimits
from tenantry.quota.gcra import NEVER, Bucket
from tenantry.quota.tiers import ADMINISTRATORS, LEAST, calls_of


def count(bucket: Bucket, now_us: int, calls: int, limit: CallLimit, ahead: int = 0) -> tuple[Bucket, Counted]:
    """The bucket with the calls and with those counted ahead; or, when the calls don't fit, the bucket as it was.

    One that has leaked at the rate it was filled at is forgotten, so that none is kept without end.
    """
    if not gcra.leak(bucket, now_us, bucket.rate).charges:
        bucket = Bucket(bucket.at_us, limit.calls_per_minute)
    leaked = gcra.leak(bucket, now_us, limit.calls_per_minute)
    wait_us = gcra.wait_us(leaked, calls, limit.burst)
    if wait_us:
        return bucket, Counted(wait_us)
    more = min(ahead, (gcra.available(leaked, limit.burst) - calls) // 2)
    return gcra.take(replace(leaked, closed=True), 0, calls + more), Counted(0, more)


class Calls:
    """`find` gives a tenant's limits from memory; `refused` hears which tenants are."""

    def __init__(
        self,
        counted: CountedAhead,
        find: Callable[[str], Awaitable[TenantLimits | None]],
        refused: Callable[[str], None],
    ) -> None:
        self._counted = counted
        self._find = find
        self._refused = refused

    async def admit(self, owner: Owner, calls: int = 1) -> None:
        """Count so many calls of the owner's; ResourceExhausted says when they would be admitted."""
        limit = await self._limit(owner)
        wait_us = await self._counted.count(owner, calls, limit)
        if wait_us:
            if isinstance(owner, Tenant):
                self._refused(owner.id)
            raise _refusal(owner, wait_us, limit)

    async def _limit(self, owner: Owner) -> CallLimit:
        if not isinstance(owner, Tenant):
            return ADMINISTRATORS
        found = await self._find(owner.id)
        return calls_of(found.tier, found.overrides) if found is not None else calls_of(LEAST, NO_OVERRIDES)


def _refusal(owner: Owner, wait_us: int, limit: CallLimit) -> ResourceExhausted:
    what = f"{limit.calls_per_minute} calls a minute, {told(limit).burst} at once"
    subject, whose = _named(owner)
    return ResourceExhausted(
        Reason.CALLS_PER_MINUTE,
        f"the {whose} limit of {what} is reached",
        retry_after_s=None if wait_us == NEVER else wait_us / 1_000_000,
        violations=[(subject, what)],
    )


def _named(owner: Owner) -> tuple[str, str]:
    match owner:
        case Tenant(_, id):
            return f"tenant:{id}", "tenant's"
        case Organisation(id):
            return f"organisation:{id}", "organisation's administrators'"
        case _:
            return "platform", "operators'"
