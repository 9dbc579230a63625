"""How fair the queue is: the paper's eight workloads, weights, and an hour of real arrivals with a flood, fair and first come
first served, on virtual time by the queue's own rules; and two of them on the real service.

"Fairness in Serving Large Language Models" (OSDI '24): requests of 256/256 tokens unless the workload says otherwise, a pool of
10,000 tokens in flight, tokens weigh 1 read and 2 written, and 43 ms a token (what the paper's own records come to).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from tenantry.quota.recorded import split
from tenantry.quota.served import Curve, Prices, backlogged_difference, by_tenant, largest_difference
from tenantry.quota.simulation import Arrival, Fate, Member, Provider, simulate
from tenantry.quota.slot import Kind, PoolSettings
from tests.bench.fairness_service import serve
from tests.bench.plots import draw
from tests.bench.report import FULL, Report
from tests.bench.workloads import WORKLOADS, Workload, heavier, recorded, weighted

POOL = 10_000
PRICES = Prices(1, 2)
PAPERS_POOL = PoolSettings(Kind.TOKENS, POOL, 1, 2, most_waiting=1_000_000)
PAPERS_PROVIDER = Provider(0.043)
WEIGHTS = {"a": 1, "b": 2, "c": 3, "d": 4}
WITHIN, WEIGHTS_S = 0.03, 600
DATA = Path(os.environ.get("TENANTRY_BENCH_DATA", "../shared/data"))
REAL_POOL = PoolSettings(Kind.TOKENS, 50_000, 1, 2, most_waiting=20_000)
# How much of it the recorded requests need by themselves: a flood of ten times the largest tenant's fills it.
REAL_LOAD = 0.6
TENANTS, FLOODS = 20, (1, 10, 100)
MORE = 0.10
# On the real service: these figures, and so many times faster.
REAL_FIGURES, FASTER = (3, 6), 20
PLOTS = Path("docs/fairness")


def bound(longest_input: int) -> float:
    """Theorem 4.4: two backlogged tenants' services differ by no more than this in any interval."""
    return 2 * max(PRICES.read * longest_input, PRICES.written * POOL)


def run(
    *,
    workloads: tuple[Workload, ...] = WORKLOADS,
    real_figures: tuple[int, ...] = REAL_FIGURES,
    part: float = 1.0,
    traces: tuple[str, ...] = ("conv", "code"),
) -> Report:
    """The benchmark. Small numbers try it out: `part` is how much of the paper's workloads is made."""
    report = Report(("workload", "order", "largest difference", "the paper's", "while backlogged", "bound"))
    for workload in workloads:
        seconds = workload.seconds * part
        arrivals = [arrival for arrival in workload.arrivals() if arrival.at_s < seconds]
        _workload(workload, arrivals, seconds, report)
        if workload.figure in real_figures:
            _real_workload(workload, arrivals, seconds, report)
    _weights(WEIGHTS_S * part, report)
    if real_figures:
        _real_weights(WEIGHTS_S * part, report)
    for name in traces:
        file = DATA / f"azure-llm-2023-{name}.csv.gz"
        if file.exists():
            _flood(name, recorded(file), report)
    return report


def _workload(workload: Workload, arrivals: list[Arrival], seconds: float, report: Report) -> None:
    most = bound(max(arrival.input_tokens for arrival in arrivals))
    name = f"Fig. {workload.figure} {workload.name}"
    both = {
        order: simulate(arrivals, PAPERS_POOL, PAPERS_PROVIDER, fair=order == "fair")
        for order in ("fair", "first come")
    }
    if FULL:
        file = PLOTS / f"figure-{workload.figure}.svg"
        draw(
            f"{workload.name} (the paper's figure {workload.figure})",
            seconds,
            both["fair"],
            both["first come"],
            PRICES,
            file,
        )
    for place, (order, fates) in enumerate(both.items()):
        largest = largest_difference(fates, seconds, PRICES)
        backlogged = backlogged_difference(fates, PRICES)
        papers = f"{workload.paper[place]:,}" if workload.paper else ""
        report.row(name, order, f"{largest:,.0f}", papers, f"{backlogged:,.0f}", f"{most:,.0f}")
        report.figure(f"figure_{workload.figure}_{order.replace(' ', '_')}_largest", largest, 0)
        report.figure(f"figure_{workload.figure}_{order.replace(' ', '_')}_backlogged", backlogged, 0)
        if order == "fair":
            report.goal(f"Fig. {workload.figure}: backlogged tenants within {most:,.0f}", backlogged <= most)


def _weights(seconds: float, report: Report) -> None:
    members = {tenant: Member(tenant, weight) for tenant, weight in WEIGHTS.items()}
    arrivals = [arrival for arrival in weighted(WEIGHTS) if arrival.at_s < seconds]
    fates = simulate(arrivals, PAPERS_POOL, PAPERS_PROVIDER, members)
    _weights_row("weights 1 : 2 : 3 : 4", "fair", shares_of(fates, seconds), "", report)


def _weights_row(name: str, order: str, shares: Mapping[str, float], more: str, report: Report) -> None:
    whole = sum(WEIGHTS.values())
    off = max(abs(shares[tenant] / weight * whole - 1) for tenant, weight in WEIGHTS.items())
    served = " : ".join(f"{share * whole:.2f}" for share in shares.values())
    report.row(name, order, served, more, f"off by {off:.1%}", f"{WITHIN:.0%}")
    report.figure("weights_off_by" if order == "fair" else "weights_real_off_by", off, 4)
    report.goal(f"weights 1:2:3:4 within {WITHIN:.0%}" + ("" if order == "fair" else ", real service"), off <= WITHIN)


def _real_workload(workload: Workload, arrivals: list[Arrival], seconds: float, report: Report) -> None:
    fates, late_s = serve(arrivals, POOL, PAPERS_PROVIDER, faster=FASTER)
    most = bound(max(arrival.input_tokens for arrival in arrivals))
    largest, backlogged = largest_difference(fates, seconds, PRICES), backlogged_difference(fates, PRICES)
    name = f"Fig. {workload.figure} on the real service × {FASTER}"
    cells = (f"{largest:,.0f}", f"callers ≤ {late_s:.1f} s late", f"{backlogged:,.0f}", f"{most:,.0f}")
    report.row(name, "real service", *cells)
    report.figure(f"figure_{workload.figure}_real_largest", largest, 0)
    report.figure(f"figure_{workload.figure}_real_backlogged", backlogged, 0)
    report.goal(f"Fig. {workload.figure}, real service: backlogged tenants within {most:,.0f}", backlogged <= most)


def _real_weights(seconds: float, report: Report) -> None:
    arrivals = [arrival for arrival in weighted(WEIGHTS, per_s=1) if arrival.at_s < seconds]
    fates, late_s = serve(arrivals, POOL, PAPERS_PROVIDER, WEIGHTS, faster=FASTER)
    _weights_row("weights 1 : 2 : 3 : 4", "real service", shares_of(fates, seconds), f"≤ {late_s:.1f} s late", report)


def shares_of(fates: list[Fate], until_s: float) -> Mapping[str, float]:
    """Each tenant's share of all service until then."""
    service = {tenant: Curve(own, PRICES).at([until_s])[0] for tenant, own in by_tenant(fates).items()}
    return {tenant: value / sum(service.values()) for tenant, value in service.items()}


def _flood(name: str, arrivals: list[Arrival], report: Report) -> None:
    """The largest of twenty tenants turns heavy; what the others wait."""
    base, provider = split(arrivals, TENANTS, seed=1), _provider_for(arrivals)
    p99: dict[tuple[str, int], float] = {}
    for order in ("fair", "first come"):
        for times in FLOODS:
            fates = simulate(heavier(base, "t01", times, seed=2), REAL_POOL, provider, fair=order == "fair")
            waits = sorted(
                float("inf") if fate.wait_s is None else fate.wait_s for fate in fates if fate.arrival.tenant != "t01"
            )
            p99[order, times] = waits[int(len(waits) * 0.99)]
            lost = sum(wait == float("inf") for wait in waits)
            cells = (f"p50 {waits[len(waits) // 2]:.2f} s", f"p99 {p99[order, times]:.2f} s", f"{lost} refused", "")
            report.row(f"Azure {name}, one of 20 tenants × {times}", order, *cells)
            if lost * 100 < len(waits):
                report.figure(f"azure_{name}_{order.replace(' ', '_')}_x{times}_p99_s", p99[order, times])
    grown = p99["fair", 100] / p99["fair", 10] - 1
    report.figure(f"azure_{name}_x10_to_x100", grown)
    report.goal(f"Azure {name}: others' p99 from × 10 to × 100 ≤ +{MORE:.0%}", grown <= MORE)


def _provider_for(arrivals: list[Arrival]) -> Provider:
    """One that is as fast as makes these requests need `REAL_LOAD` of the pool."""
    seconds = max(arrival.at_s for arrival in arrivals)
    tokens = ((one.input_tokens + one.output_tokens) * one.output_tokens for one in arrivals)
    return Provider(REAL_LOAD * REAL_POOL.capacity * seconds / sum(tokens))
