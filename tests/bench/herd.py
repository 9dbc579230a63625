"""The fair queue as callers see it: how soon a place is granted, and a herd that arrives in one instant."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil
import uvloop
from grpc import aio

from tenantry.api.quota.v1.queue_service_pb2 import SlotBegin
from tests.bench.load import Run, closed_loop
from tests.bench.replicas import Place, Replica, Replicas, begin, replicas
from tests.bench.report import FULL, Report

MOST_PSS_MB = 300


@dataclass(frozen=True)
class Herd:
    """So many callers, of several tenants, at a pool of so many seats, each call so long, to begin within so long."""

    callers: int = 10_000
    tenants: int = 20
    seats: int = 200
    call_s: float = 0.05
    within_s: int = 15

    @property
    def ideal_s(self) -> float:
        return self.callers / self.seats * self.call_s


HERD = Herd()


@dataclass
class Outcome:
    """What became of a herd: how many were served, why others were not, when the last was granted and all had ended, and the most
    that a replica's process was (proportional set size), before and meanwhile."""

    served: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    last_grant_s: float = 0.0
    seconds: float = 0.0
    before_mb: float = 0.0
    most_mb: float = 0.0


async def free_seat(all: Replicas, seconds: float, most_calls: int) -> Run:
    """From the begin's write to the granted message, one call at a time; giving it back is not counted."""
    pool, receipt = await all.set_pool(capacity=8), await all.onboard()
    wanted, run, places = begin(receipt, pool, 10, 10), Run(), list[Place]()

    async def acquire() -> None:
        begun = time.perf_counter()
        places.append(await all.running[0].wait(wanted))
        run.latencies.append(time.perf_counter() - begun)
        await places.pop().end(10)

    await closed_loop(acquire, 1, seconds, most_calls)
    return run


async def freed_seat(all: Replicas, waits_at: int, times: int) -> Run:
    """From the word that a call has ended to the granted message of the next, which waits at this replica."""
    pool, receipt = await all.set_pool(capacity=1), await all.onboard()
    wanted, run, dice = begin(receipt, pool, 10, 10), Run(), random.Random(1)
    for _ in range(times):
        running, queued = await all.running[0].wait(wanted), asyncio.Event()
        heard = asyncio.ensure_future(_heard(all.running[waits_at], wanted, queued))
        await queued.wait()
        await asyncio.sleep(dice.uniform(0, 0.2))
        sent = await running.end(10)
        place, at = await heard
        run.latencies.append(at - sent)
        await place.end(10)
    return run


async def _heard(replica: Replica, wanted: SlotBegin, queued: asyncio.Event) -> tuple[Place, float]:
    place = await replica.wait(wanted, 1, queued)
    return place, time.perf_counter()


async def herd(all: Replicas, size: Herd) -> Outcome:
    """All ask at once."""
    pool = await all.set_pool(capacity=size.seats)
    wanted = [begin(await all.onboard(), pool, 10, 10, size.within_s) for _ in range(size.tenants)]
    outcome = Outcome(before_mb=pss_mb(all))
    begun = time.perf_counter()

    async def ask(number: int) -> None:
        replica = all.running[number % len(all.running)]
        try:
            place = await replica.wait(wanted[number % size.tenants], number // len(all.running))
        except aio.AioRpcError as error:
            outcome.refused[error.details() or error.code().name] += 1
            return
        outcome.last_grant_s = time.perf_counter() - begun
        await asyncio.sleep(size.call_s)
        await place.end(10)
        outcome.served += 1

    async def weigh() -> None:
        while True:
            outcome.most_mb = max(outcome.most_mb, await asyncio.to_thread(pss_mb, all))
            await asyncio.sleep(0.5)

    weighing = asyncio.ensure_future(weigh())
    await asyncio.gather(*(ask(number) for number in range(size.callers)))
    outcome.seconds = time.perf_counter() - begun
    weighing.cancel()
    await asyncio.wait((weighing,))
    return outcome


def pss_mb(all: Replicas) -> float:
    """The largest replica's process."""
    return max(psutil.Process(one.pid).memory_full_info().pss for one in all.running) / 2**20


async def _measure(report: Report, size: Herd, times: int, replicas_of_herd: Sequence[int]) -> None:
    async with replicas(2) as both:
        delays = {
            "a seat is free": await free_seat(both, 60, times),
            "a seat is freed, same replica": await freed_seat(both, 0, times),
            "a seat is freed, other replica": await freed_seat(both, 1, times),
        }
    for name, run in delays.items():
        p50, p99 = run.percentile_ms(50), run.percentile_ms(99)
        report.row(f"grant, {name}", f"p50 {p50:.1f} ms", f"p99 {p99:.1f} ms", "", "", "")
        key = name.replace("a ", "").replace(",", "").replace(" ", "_")
        report.figure(f"{key}_p50_ms", p50)
        report.figure(f"{key}_p99_ms", p99)
    for number in replicas_of_herd:
        async with replicas(number) as all:
            _report(report, size, number, await herd(all, size))


def _report(report: Report, size: Herd, number: int, outcome: Outcome) -> None:
    name = f"herd of {size.callers:,} at {size.seats} seats, replicas: {number}"
    cells = (
        f"{outcome.served:,} served",
        f"{outcome.seconds:.1f} s",
        f"ideal {size.ideal_s:g} s",
        f"last grant {outcome.last_grant_s:.1f} s",
        f"PSS {outcome.before_mb:.0f} → {outcome.most_mb:.0f} MB",
    )
    report.row(name, *cells)
    for why, times in outcome.refused.most_common(3):
        report.row(f"  refused {times:,} times: {why}", "", "", "", "", "")
    report.figure(f"herd_{number}_served", outcome.served, 0)
    report.figure(f"herd_{number}_seconds", outcome.seconds)
    report.figure(f"herd_{number}_pss_mb", outcome.most_mb, 1)
    report.goal(f"{name}: served whole", outcome.served == size.callers)
    report.goal(f"{name}: PSS ≤ {MOST_PSS_MB} MB", outcome.most_mb <= MOST_PSS_MB)


def on_the_service(
    report: Report, *, size: Herd = HERD, times: int = 500 if FULL else 100, replicas_of_herd: Sequence[int] = (1, 2)
) -> None:
    """Adds the rows of the real service."""
    uvloop.run(_measure(report, size, times, replicas_of_herd))
