"""Changes of limits and pools in the words of the audit log: whose, what they are about, and each figure from and to.

An event's subject is one word of up to 200 characters, so a change that says more is told in several, none of them cut.
"""

from collections.abc import Mapping
from dataclasses import asdict

from tenantry.kit.owner import Tenant
from tenantry.quota.entries import Limits, Rule, TenantSettings
from tenantry.quota.limit_rules import NAMES
from tenantry.quota.slot import PoolSettings

LONGEST = 200
_LONGEST_PART = 20
_LONGEST_POOL = 60


def told_rule(rule: Rule, before: Limits, after: Limits) -> list[str]:
    """A rule's change. Long names are cut, which `~` says."""
    about = ",".join(
        f"{kind}={_short(part)}"
        for kind, part in (("key", rule.key_id), ("user", rule.end_user), ("model", rule.model))
        if part
    )
    return _told(f"{rule.owner.id or rule.owner.organisation}[{about}]", _values(before), _values(after))


def told_settings(owner: Tenant, before: TenantSettings, after: TenantSettings) -> list[str]:
    """A change of a tenant's own settings."""
    old, new = (
        _values(one.overrides) | {"time_zone": one.time_zone, "queue_weight": one.queue_weight}
        for one in (before, after)
    )
    return _told(owner.id, old, new)


def told_pool(name: str, before: PoolSettings, after: PoolSettings) -> list[str]:
    """A pool's change."""
    return _told(_short(name, _LONGEST_POOL), asdict(before), asdict(after))


def _told(whose: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    told: list[str] = []
    for name in before:
        if before[name] == after[name]:
            continue
        figure = f"{name}={before[name]}>{after[name]}"
        if told and len(told[-1]) + 1 + len(figure) <= LONGEST:
            told[-1] += f",{figure}"
        else:
            told.append(f"{whose}:{figure}")
    return told or [f"{whose}:same"]


def _values(limits: Limits) -> dict[str, int | str]:
    return {name: getattr(limits, name) for name in NAMES}


def _short(part: str, longest: int = _LONGEST_PART) -> str:
    return part if len(part) <= longest else f"{part[:longest]}~"
