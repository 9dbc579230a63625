"""When whose request arrives: the eight synthetic workloads of the paper, and real arrivals split over tenants.

"Fairness in Serving Large Language Models" (OSDI '24), section 5.2, figures 3 to 10; rates and lengths are those of its published
experiments. Arrivals of each are the same in every run.
"""

import gzip
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tenantry.quota.recorded import read
from tenantry.quota.simulation import Arrival

_MINUTE_S = 60.0
_RAMP_FROM = 0.2


@dataclass(frozen=True, slots=True)
class Workload:
    """`both_backlogged`: the tenants always have more waiting than they are served, so that their service must be equal (from
    `settled_s` on). `paper` is the largest service difference that the paper measured: VTC, first come first served."""

    figure: int
    name: str
    seconds: float
    arrivals: Callable[[], list[Arrival]]
    both_backlogged: bool = False
    paper: tuple[int, int] | None = None


def steady(tenant: str, per_s: float, seconds: float, begin_s: float = 0.0, *, phase: float = 0.0) -> Iterator[Arrival]:
    """Requests in equal intervals, the first after a part `phase` of one."""
    for number in count():
        at_s = (number + phase) / per_s
        if at_s >= seconds:
            return
        yield Arrival(begin_s + at_s, tenant)


def on_and_off(arrivals: Iterator[Arrival]) -> Iterator[Arrival]:
    """Only the arrivals of every other minute, from the first on."""
    return (arrival for arrival in arrivals if int(arrival.at_s // _MINUTE_S) % 2 == 0)


def ramp(tenant: str, from_per_s: float, to_per_s: float, seconds: float) -> Iterator[Arrival]:
    """A rate that rises evenly."""
    at_s = 0.0
    while True:
        at_s += 1 / (from_per_s + (to_per_s - from_per_s) * at_s / seconds)
        if at_s >= seconds:
            return
        yield Arrival(at_s, tenant)


def poisson(
    tenant: str, per_s: float, seconds: float, input_tokens: int, output_tokens: int, seed: int
) -> Iterator[Arrival]:
    """Exponential intervals."""
    dice = random.Random(seed)
    at_s = dice.expovariate(per_s)
    while at_s < seconds:
        yield Arrival(at_s, tenant, input_tokens, output_tokens)
        at_s += dice.expovariate(per_s)


def _overload() -> list[Arrival]:
    return sorted([*steady("one", 1.5, 600, phase=0.37), *steady("two", 3, 600)])


def _shares() -> list[Arrival]:
    return sorted(
        [*steady("one", 0.25, 600), *steady("two", 0.5, 600, phase=0.3), *steady("three", 1.5, 600, phase=0.7)]
    )


def _on_off_below() -> list[Arrival]:
    return sorted([*on_and_off(steady("one", 0.5, 600)), *steady("two", 2, 600, phase=0.5)])


def _on_off_above() -> list[Arrival]:
    return sorted([*on_and_off(steady("one", 2, 600)), *steady("two", 3, 600, phase=0.5)])


def _short_and_long() -> list[Arrival]:
    return sorted([*poisson("one", 8, 600, 64, 64, 42), *poisson("two", 1.5, 600, 256, 256, 43)])


def _long_in_and_long_out() -> list[Arrival]:
    return sorted([*poisson("one", 8, 600, 512, 32, 42), *poisson("two", 1.5, 600, 32, 512, 43)])


def _ramp() -> list[Arrival]:
    return sorted([*steady("one", 0.5, 600), *ramp("two", _RAMP_FROM, 2, 600)])


def _shift() -> list[Arrival]:
    on_off = [*on_and_off(steady("one", 0.5, 300)), *steady("two", 2, 300, phase=0.5)]
    overload = [*steady("one", 1, 300, 300), *steady("two", 1, 300, 300, phase=0.5)]
    shares = [*steady("one", 0.5, 300, 600), *steady("two", 1.5, 300, 600, phase=0.5)]
    return sorted([*on_off, *overload, *shares])


WORKLOADS = (
    Workload(3, "two tenants, both above their share", 600, _overload, True, (7_947, 248_716)),
    Workload(4, "three tenants, two below their share", 600, _shares),
    Workload(5, "one on and off, below its share", 600, _on_off_below),
    Workload(6, "one on and off, above its share", 600, _on_off_above, True, (8_757, 370_598)),
    Workload(7, "short and long requests, Poisson", 600, _short_and_long),
    Workload(8, "long to read and long to write, Poisson", 600, _long_in_and_long_out, True, (41_484, 663_547)),
    Workload(9, "one rises", 600, _ramp),
    Workload(10, "the load shifts", 900, _shift),
)


def weighted(weights: Mapping[str, int], per_s: float = 3) -> list[Arrival]:
    """All tenants backlogged throughout, whatever their weight."""
    return sorted(
        arrival
        for place, tenant in enumerate(weights)
        for arrival in steady(tenant, per_s, 600, phase=place / len(weights))
    )


def recorded(file: Path) -> list[Arrival]:
    """Real arrivals, of one nameless tenant."""
    with gzip.open(file, "rt", newline="") as lines:
        arrivals, wrong = read(lines)
    assert not wrong, wrong
    return arrivals


def heavier(arrivals: list[Arrival], tenant: str, times: int, seed: int) -> list[Arrival]:
    """The tenant's requests so many times over, each copy within ten seconds of its original."""
    dice = random.Random(seed)
    copies = [
        Arrival(arrival.at_s + dice.uniform(0, 10), tenant, arrival.input_tokens, arrival.output_tokens)
        for arrival in arrivals
        if arrival.tenant == tenant
        for _ in range(times - 1)
    ]
    return sorted([*arrivals, *copies])
