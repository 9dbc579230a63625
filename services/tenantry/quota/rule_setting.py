"""Rules of limits for administrators: set, delete, list."""

from collections.abc import Callable, Sequence

from tenantry.kit.caller import Caller, may_name
from tenantry.kit.errors import InvalidArgument, NotFound, Reason
from tenantry.kit.ids import check_tenant_id
from tenantry.kit.owner import Organisation, Tenant
from tenantry.quota.entries import Rule
from tenantry.quota.limit_rules import EACH, check_rule, check_subject, subject_of
from tenantry.quota.limits import QuotaLimits, Use
from tenantry.quota.store import LimitRules, Tenants

_UTC = "UTC"


class RuleSetting:
    """`changed` drops a tenant, `organisation_changed` an organisation's rules from this replica's memories."""

    def __init__(
        self,
        rules: LimitRules,
        tenants: Tenants,
        limits: QuotaLimits,
        changed: Callable[[str], None],
        organisation_changed: Callable[[str], None],
    ) -> None:
        self._rules = rules
        self._tenants = tenants
        self._limits = limits
        self._changed = changed
        self._organisation_changed = organisation_changed

    async def owner(self, caller: Caller, tenant: str, organisation: str) -> tuple[Tenant, str]:
        """Whose rules the request names, with their time zone; NOT_FOUND unless the caller may name it."""
        if tenant and organisation:
            raise InvalidArgument("organisation", "is named beside a tenant: a rule has one owner")
        if organisation:
            # The same form as a tenant's, and the same silence about those that are not the caller's.
            check_tenant_id(organisation)
            mine = not caller.tenant and caller.organisation in ("", organisation)
            if not mine or not await self._rules.serves(Organisation(organisation)):
                raise NotFound(Reason.NOT_FOUND, "there is no such organisation", kind="organisation")
            return Tenant(organisation, ""), _UTC
        found = await self._tenants.find(check_tenant_id(tenant or caller.tenant))
        if found is None or not may_name(caller, Tenant(found.organisation, found.tenant)):
            raise NotFound(Reason.NOT_FOUND, "there is no such tenant", kind="tenant")
        return Tenant(found.organisation, found.tenant), found.time_zone

    async def put(self, rule: Rule, version: int, time_zone: str) -> tuple[Rule, list[Use]]:
        """Set the rule: how it is now, and what is used above it already."""
        check_rule(rule)
        _check_version(version)
        new = await self._rules.put(rule, version)
        self._drop(rule.owner)
        if rule.end_user == EACH:
            return new, []
        owner = rule.owner if rule.owner.id else Tenant(rule.owner.organisation, "")
        used = await self._limits.used(owner, (subject_of(rule),), time_zone)
        return new, [use for use in used if use.is_over]

    async def remove(self, rule: Rule, version: int) -> None:
        """Delete the rule that is about the same."""
        wrong = check_subject(rule.owner, rule.key_id, rule.end_user, rule.model)
        if wrong:
            raise InvalidArgument.many(wrong)
        _check_version(version)
        await self._rules.remove(rule, version)
        self._drop(rule.owner)

    async def page(self, owner: Tenant, after: tuple[str, str, str] | None, size: int) -> Sequence[Rule]:
        """Rules in order."""
        return await self._rules.page(owner, after, size)

    def _drop(self, owner: Tenant) -> None:
        if owner.id:
            self._changed(owner.id)
        else:
            self._organisation_changed(owner.organisation)


def _check_version(version: int) -> None:
    if not 0 <= version < 2**62:
        raise InvalidArgument("version", "is out of range")
