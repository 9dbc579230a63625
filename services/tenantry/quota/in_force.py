"""What applies to a request now: its tenant's and organisation's limits, in the order of their checks, and both calendars."""

from collections.abc import Awaitable, Callable

from tenantry.kit.clock import Clock
from tenantry.kit.owner import Tenant
from tenantry.quota.entries import Demand, Rules, Subject, TenantLimits
from tenantry.quota.limit_rules import About, subjects
from tenantry.quota.periods import calendar_of
from tenantry.quota.tiers import limits_of

_UTC = "UTC"


class InForce:
    """`find` gives a tenant's limits, `rules_of` an organisation's rules, both from a memory."""

    def __init__(
        self,
        find: Callable[[str], Awaitable[TenantLimits | None]],
        rules_of: Callable[[str], Awaitable[Rules]],
        clock: Clock,
    ) -> None:
        self._find = find
        self._rules_of = rules_of
        self._clock = clock

    def now_us(self) -> int:
        """This service's own time, for people."""
        return self._clock.now_ns() // 1000

    async def demand(self, owner: Tenant, about: About) -> Demand | None:
        """None when quota was not told to serve the tenant."""
        found = await self._find(owner.id)
        if found is None or found.organisation != owner.organisation:
            return None
        shared = await self._rules_of(owner.organisation)
        own = limits_of(found.tier, found.overrides)
        return self.counted(subjects(owner, own, found.rules, shared, about), found.time_zone)

    def counted(self, subjects: tuple[Subject, ...], time_zone: str) -> Demand:
        """The subjects with the calendars of now."""
        now_us = self.now_us()
        return Demand(subjects, calendar_of(time_zone, now_us), calendar_of(_UTC, now_us))
