"""What a simulation came to: a row a tenant, and how far the service of two of them was apart."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenantry.quota.served import Curve, Prices, backlogged_difference, by_tenant
from tenantry.quota.simulation import Fate, Member

# Pairs of tenants are compared: of the busiest only.
MOST_COMPARED = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """One tenant: how many of its requests were answered and what refused how many, seconds that the answered waited (None:
    none was), its service until the last request of all arrived, what part of all service that was, and what part its weight
    would give it if all tenants always waited."""

    tenant: str
    weight: int
    requests: int
    admitted: int
    refused: Mapping[str, int]
    wait_p50_s: float | None
    wait_p99_s: float | None
    service: float
    share: float
    due: float


def outcomes(fates: Sequence[Fate], members: Mapping[str, Member], prices: Prices) -> list[Outcome]:
    """Every tenant's, in the order of their names."""
    tenants = by_tenant(fates)
    end_s = max((fate.arrival.at_s for fate in fates), default=0.0)
    served = {tenant: Curve(own, prices).at([end_s])[0] for tenant, own in tenants.items()}
    due, total = _due({tenant: members.get(tenant, Member(tenant)) for tenant in tenants}), sum(served.values())
    found: list[Outcome] = []
    for tenant, own in tenants.items():
        waits = sorted(fate.wait_s for fate in own if fate.wait_s is not None)
        refused = dict(sorted(Counter(fate.refused for fate in own if fate.refused).items()))
        share = served[tenant] / total if total else 0.0
        found.append(
            Outcome(
                tenant,
                members.get(tenant, Member(tenant)).weight,
                len(own),
                len(waits),
                refused,
                _part(waits, 0.50),
                _part(waits, 0.99),
                served[tenant],
                share,
                due[tenant],
            )
        )
    return found


def largest_difference(fates: Sequence[Fate], members: Mapping[str, Member], prices: Prices) -> float:
    """Of two tenants' service by weight, within any time throughout which both have requests waiting."""
    tenants = by_tenant(fates)
    busiest = sorted(tenants, key=lambda tenant: -len(tenants[tenant]))
    compared = [fate for tenant in busiest[:MOST_COMPARED] for fate in tenants[tenant]]
    return backlogged_difference(compared, prices, {tenant: one.weight for tenant, one in members.items()})


def _due(members: Mapping[str, Member]) -> dict[str, float]:
    """Organisations share by the mean weight of their tenants, and tenants of one by their own."""
    organisations: dict[str, list[int]] = {}
    for member in members.values():
        organisations.setdefault(member.organisation, []).append(member.weight)
    means = {name: sum(weights) / len(weights) for name, weights in organisations.items()}
    return {
        tenant: means[one.organisation] / sum(means.values()) * one.weight / sum(organisations[one.organisation])
        for tenant, one in members.items()
    }


def _part(values: Sequence[float], part: float) -> float | None:
    return values[min(len(values) - 1, int(len(values) * part))] if values else None
