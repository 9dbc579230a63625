"""A tenant's limits and use, for its callers and for administrators."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tenantry.kit.caller import Caller, may_name
from tenantry.kit.errors import InvalidArgument, NotFound, Reason
from tenantry.kit.ids import check_tenant_id
from tenantry.kit.owner import Tenant
from tenantry.quota.entries import NO_RULES, Limits, Rules, Subject, TenantLimits, TenantSettings, Used
from tenantry.quota.in_force import InForce
from tenantry.quota.limit_rules import EACH, About, subject_of, subjects
from tenantry.quota.periods import is_zone
from tenantry.quota.refusals import value_of
from tenantry.quota.store import Books, Tenants
from tenantry.quota.tiers import check_overrides, limits_of

MOST_WEIGHT = 1_000
_SUBJECTS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Use:
    """How much of one limit is used; at `free_us` nothing is, if nothing comes (0: nothing is now, or nobody knows)."""

    subject: str
    measure: str
    limit: int
    burst: int
    used: int
    free_us: int
    warned: int

    @property
    def is_over(self) -> bool:
        """Whether more is used than there may be."""
        return self.used > (self.burst or self.limit)


class QuotaLimits:
    """`find` gives a tenant and `rules_of` an organisation's rules from memories, and `changed` drops a tenant from its."""

    def __init__(
        self,
        tenants: Tenants,
        books: Books,
        in_force: InForce,
        find: Callable[[str], Awaitable[TenantLimits | None]],
        rules_of: Callable[[str], Awaitable[Rules]],
        changed: Callable[[str], None],
    ) -> None:
        self._tenants = tenants
        self._books = books
        self._in_force = in_force
        self._find = find
        self._rules_of = rules_of
        self._changed = changed

    async def get(self, caller: Caller, tenant: str) -> tuple[Limits, TenantLimits]:
        """The limits as they apply, and what they come from; read from SQL, so that a write may name the version."""
        found = await self._named(caller, tenant, self._tenants.find)
        return limits_of(found.tier, found.overrides), found

    async def use(self, caller: Caller, tenant: str, end_user: str = "") -> tuple[Limits, list[Use]]:
        """The tenant's limits, and what is used of all that may apply to its requests, its own first."""
        if len(end_user.encode()) > 128:
            raise InvalidArgument("end_user", "is longer than 128 bytes")
        found = await self._named(caller, tenant, self._find)
        own = limits_of(found.tier, found.overrides)
        # What is used of an organisation's limits tells of its other tenants.
        shared = NO_RULES if caller.tenant else await self._rules_of(found.organisation)
        owner = Tenant(found.organisation, found.tenant)
        counted = (
            *subjects(owner, own, NO_RULES, NO_RULES, About("", "", "")),
            *(
                subject_of(rule, end_user)
                for rule in (*shared.values(), *found.rules.values())
                if rule.end_user != EACH or end_user
            ),
        )
        return own, await self.used(owner, counted, found.time_zone)

    async def used(self, owner: Tenant, counted: tuple[Subject, ...], time_zone: str) -> list[Use]:
        """What is used of each limit of the subjects."""
        uses: list[Use] = []
        for first in range(0, len(counted), _SUBJECTS_AT_ONCE):
            some = counted[first : first + _SUBJECTS_AT_ONCE]
            found = await self._books.use(owner, self._in_force.counted(some, time_zone))
            now_us = self._in_force.now_us()
            uses += [_use(subject, one, now_us) for subject, used in zip(some, found, strict=True) for one in used]
        return [use for use in uses if use.limit]

    async def override(
        self, caller: Caller, tenant: str, settings: TenantSettings, version: int
    ) -> tuple[Limits, int, list[Use]]:
        """Replace the tenant's own settings: the limits that apply from now on, the new version, and what is used above them."""
        if not tenant:
            raise InvalidArgument("tenant", "is missing")
        found = await self._named(caller, tenant, self._tenants.find)
        check_overrides(found.tier, settings.overrides)
        _check_settings(settings)
        if version < 0:
            raise InvalidArgument("version", "is below 0")
        owner = Tenant(found.organisation, found.tenant)
        new = await self._tenants.override(owner, settings, version)
        self._changed(found.tenant)
        limits = limits_of(found.tier, settings.overrides)
        used = await self.used(
            owner, subjects(owner, limits, NO_RULES, NO_RULES, About("", "", "")), settings.time_zone
        )
        return limits, new, [use for use in used if use.is_over]

    async def _named(
        self, caller: Caller, tenant: str, find: Callable[[str], Awaitable[TenantLimits | None]]
    ) -> TenantLimits:
        """The tenant that the request names, the caller's own if none; NOT_FOUND unless the caller may name it."""
        id = check_tenant_id(tenant or caller.tenant)
        found = await find(id)
        if found is None or not may_name(caller, Tenant(found.organisation, found.tenant)):
            raise NotFound(Reason.NOT_FOUND, "there is no such tenant", kind="tenant")
        return found


def _check_settings(settings: TenantSettings) -> None:
    wrong: list[tuple[str, str]] = []
    if not is_zone(settings.time_zone):
        wrong.append(("time_zone", "is not the IANA name of a time zone"))
    if not 0 <= settings.queue_weight <= MOST_WEIGHT:
        wrong.append(("queue_weight", f"is not within 0 and {MOST_WEIGHT}"))
    if wrong:
        raise InvalidArgument.many(wrong)


def _use(subject: Subject, used: Used, now_us: int) -> Use:
    limit, burst = value_of(subject.limits, used.measure)
    free_us = now_us + used.free_us if used.used and used.free_us else 0
    return Use(subject.shown, used.measure, limit, burst, used.used, free_us, used.warned)
