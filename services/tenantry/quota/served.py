"""How much service each tenant got by when, and how far two tenants were apart, from what became of their requests.

Service is counted as the paper counts it: a token that is read when its call is granted, a token that is written when it is,
each by its price weight.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from tenantry.quota.simulation import Fate

Point = tuple[float, float]


@dataclass(frozen=True)
class Prices:
    """What a token costs in service; the paper's are 1 and 2."""

    read: float = 1
    written: float = 2


class Curve:
    """Service by time of one tenant, made of steps (inputs) and slopes (outputs)."""

    def __init__(self, fates: Sequence[Fate], prices: Prices) -> None:
        changes: list[tuple[float, float, float]] = []  # when, by how much it steps, by how much its slope changes
        for fate in fates:
            if fate.granted_s is not None and fate.ended_s is not None:
                written = prices.written * fate.arrival.output_tokens
                slope = written / max(1e-6, fate.ended_s - fate.granted_s)
                changes.append((fate.granted_s, prices.read * fate.arrival.input_tokens, slope))
                changes.append((fate.ended_s, 0.0, -slope))
        changes.sort()
        self._times: list[float] = [0.0]
        self._values: list[float] = [0.0]
        self._slopes: list[float] = [0.0]
        for at_s, step, slope in changes:
            value = self._values[-1] + self._slopes[-1] * (at_s - self._times[-1]) + step
            self._times.append(at_s)
            self._values.append(value)
            self._slopes.append(self._slopes[-1] + slope)

    def at(self, times: Sequence[float]) -> list[float]:
        """Service by each of these times."""
        places = [bisect_right(self._times, time) - 1 for time in times]
        return [
            self._values[place] + self._slopes[place] * (time - self._times[place])
            for time, place in zip(times, places, strict=True)
        ]

    @property
    def times(self) -> Sequence[float]:
        """When something changes."""
        return self._times


def by_tenant(fates: Sequence[Fate]) -> dict[str, list[Fate]]:
    """Each tenant's requests."""
    found: dict[str, list[Fate]] = {}
    for fate in fates:
        found.setdefault(fate.arrival.tenant, []).append(fate)
    return dict(sorted(found.items()))


def largest_difference(fates: Sequence[Fate], seconds: float, prices: Prices) -> float:
    """The paper's figure: between any two tenants' service since the beginning, at any time until the last arrival."""
    curves = [Curve(own, prices) for own in by_tenant(fates).values()]
    times = [seconds * step / 200 for step in range(1, 201)]
    at = list(zip(*(curve.at(times) for curve in curves), strict=True))
    return max(max(values) - min(values) for values in at)


def backlogged_difference(fates: Sequence[Fate], prices: Prices, weights: Mapping[str, int] | None = None) -> float:
    """What the paper proves a bound for (Theorem 4.4): the largest difference of two tenants' service (by weight) within
    any interval throughout which both have requests waiting."""
    tenants = by_tenant(fates)
    curves = {tenant: Curve(own, prices) for tenant, own in tenants.items()}
    waiting = {tenant: _backlogged(own) for tenant, own in tenants.items()}
    largest = 0.0
    for one, other in combinations(tenants, 2):
        times = sorted({*curves[one].times, *curves[other].times})
        share = [(weights or {}).get(tenant, 1) for tenant in (one, other)]
        for begin, end in _both(waiting[one], waiting[other]):
            within = [begin, *times[bisect_right(times, begin) : bisect_left(times, end)], end]
            mine, theirs = curves[one].at(within), curves[other].at(within)
            apart = [a / share[0] - b / share[1] for a, b in zip(mine, theirs, strict=True)]
            largest = max(largest, max(apart) - min(apart))
    return largest


def _backlogged(fates: Sequence[Fate]) -> list[Point]:
    """When at least one request waited."""
    spans = sorted(
        (fate.arrival.at_s, end)
        for fate in fates
        if (end := fate.granted_s if fate.granted_s is not None else fate.left_s) is not None
        and end > fate.arrival.at_s
    )
    joined: list[Point] = []
    for begin, end in spans:
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def _both(one: Sequence[Point], other: Sequence[Point]) -> list[Point]:
    """When both did."""
    found: list[Point] = []
    mine = theirs = 0
    while mine < len(one) and theirs < len(other):
        a, b = one[mine], other[theirs]
        begin, end = max(a[0], b[0]), min(a[1], b[1])
        if begin < end:
            found.append((begin, end))
        if a[1] <= b[1]:
            mine += 1
        else:
            theirs += 1
    return found
