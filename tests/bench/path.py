"""One question through the whole mesh, beside the provider asked directly through the openai SDK: latency and throughput.

The client is one process, the mesh one or eight, the provider another; with two cores they share them, as the machine's
own work does. So each way of asking takes its turn in short slices, and a figure is the median of its slices.
"""

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.asking import Asked, asked_mesh, bare, provider_process
from tests.bench.load import client, closed_loop, median, ready
from tests.bench.report import FULL, Report
from tests.harness.mesh import Topology

BARE = "bare openai SDK"
AT_ONCE = 32
# Topology and share of traces that are recorded; goals are about the usual share.
RUNS: tuple[tuple[Topology, float], ...] = (("cohosted", 0.01), ("cohosted", 1.0), ("processes", 0.01))
ADDED_MS, HITS_PER_S, SDK_SHARE, EIGHT_HIT_MS, EIGHT_MISS_MS = 1.5, 600.0, 0.5, 4.0, 7.0


@dataclass
class Times:
    """Of one way of asking: milliseconds alone, and calls a second with 32 at once, a value a slice. `missed` is the share of
    hits that were none: the gateway goes on without a cache that is late, as it may be on a busy machine."""

    p50: list[float] = field(default_factory=list[float])
    p99: list[float] = field(default_factory=list[float])
    rate: list[float] = field(default_factory=list[float])
    missed: float = 0.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int = 4 if FULL else 2
    seconds: float = 3.0 if FULL else 0.5
    most_calls: int = 1_000_000


async def measure(topology: Topology, mesh_edge: Any, key: str, provider: str, size: Size) -> dict[str, Times]:
    """Takes turns between the bare SDK and the ways through the mesh."""
    from openai import AsyncOpenAI

    channel = client(mesh_edge.edge)
    await ready(channel)
    asked = Asked(mesh_edge, key, channel)
    async with AsyncOpenAI(api_key="sk-bench", base_url=f"{provider}/v1", max_retries=0) as sdk:
        ways: dict[str, Callable[[], Awaitable[None]]] = {BARE: lambda: bare(sdk), **asked.ways}
        await closed_loop(ways[BARE], 4, size.seconds, min(200, size.most_calls))
        await asked.warm_up(min(40, size.most_calls))
        times = {name: Times() for name in ways}
        for _ in range(size.rounds):
            for name, way in ways.items():
                alone = await closed_loop(way, 1, size.seconds, size.most_calls)
                times[name].p50.append(alone.percentile_ms(50))
                times[name].p99.append(alone.percentile_ms(99))
                many = await closed_loop(way, AT_ONCE, size.seconds, size.most_calls)
                times[name].rate.append(many.rate)
    await channel.close()
    times["hit"].missed = asked.missed / max(1, asked.asked)
    return times


def _report(topology: Topology, sampling: float, times: dict[str, Times], report: Report) -> None:
    bare_p50, bare_rate = median(times[BARE].p50), median(times[BARE].rate)
    prefix = ("cohosted" if topology == "cohosted" else "eight") + ("" if sampling < 1 else "_all_sampled")
    for name, one in times.items():
        p50, p99, rate = median(one.p50), median(one.p99), median(one.rate)
        cells = (
            f"{p50:.2f} ms",
            f"{p99:.2f} ms",
            f"{p50 - bare_p50:+.2f} ms",
            f"{rate:.0f}/s",
            f"{rate / bare_rate:.0%}",
        )
        report.row(name, topology, f"{sampling:.0%}", *cells)
        figure = f"{prefix}_{name.replace(',', '').replace(' ', '_')}"
        report.figure(f"{figure}_p50_ms", p50)
        report.figure(f"{figure}_p99_ms", p99)
        report.figure(f"{figure}_per_s", rate, 0)
        report.figure(f"{figure}_rate_over_bare", rate / bare_rate)
    report.figure(f"{prefix}_hits_missed", times["hit"].missed)
    if sampling < 1:
        _goals(topology, times, bare_p50, bare_rate, report)


def _goals(topology: Topology, times: dict[str, Times], bare_p50: float, bare_rate: float, report: Report) -> None:
    hit, extractive, sdk = times["hit"], times["miss, extractive"], times["miss, openai SDK"]
    if topology == "processes":
        report.goal(f"eight processes: hit p50 ≤ {EIGHT_HIT_MS:g} ms", median(hit.p50) <= EIGHT_HIT_MS)
        report.goal(f"eight processes: miss p50 ≤ {EIGHT_MISS_MS:g} ms", median(extractive.p50) <= EIGHT_MISS_MS)
        return
    report.goal(f"co-hosted: added p50 ≤ {ADDED_MS:g} ms", median(sdk.p50) - bare_p50 <= ADDED_MS)
    report.goal(f"co-hosted: hits ≥ {HITS_PER_S:g}/s", median(hit.rate) >= HITS_PER_S)
    report.goal(f"co-hosted: extractive ≥ {HITS_PER_S:g}/s", median(extractive.rate) >= HITS_PER_S)
    report.goal(f"co-hosted: SDK ≥ {SDK_SHARE:.0%} of the bare rate", median(sdk.rate) >= SDK_SHARE * bare_rate)


def run(*, runs: tuple[tuple[Topology, float], ...] = RUNS, size: Size | None = None) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    columns = ("way", "mesh", "traced", "p50, c=1", "p99, c=1", "over bare", f"rate, c={AT_ONCE}", "of bare")
    report = Report(columns)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = stack.enter_context(provider_process())
        for number, (topology, sampling) in enumerate(runs):
            with asked_mesh(topology, directory / str(number), sampling, provider) as (mesh, key):
                times = uvloop.run(measure(topology, mesh, key, provider, size or Size()))
            _report(topology, sampling, times, report)
    return report
