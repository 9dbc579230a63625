"""What becomes of limits and settlements when something breaks: replicas killed, Redis killed, cut off or stopped, clocks apart.

Each case is run several times under load. None may lose or double a settlement that was acknowledged, or leave a hold behind, or
admit more than burst + rate·t; while a replica goes on alone, its share of that may come on top.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tenantry.quota import keys
from tenantry.quota.holds import Terms
from tenantry.quota.presence import StandbyTerms
from tenantry.quota.settings import Settings
from tests.bench.report import FULL, Report
from tests.harness import stores
from tests.harness.killable import Killable
from tests.harness.poll import until
from tests.harness.proxy import Proxy, proxy_to
from tests.harness.quota_load import Limit, Load, Outcome
from tests.harness.redis_cluster import RedisCluster

REPLICAS = 3
LIMIT = Limit(per_minute=6_000, burst=50)
# Holds that nobody renews end soon, so that a run can see them end.
MOST_LAG_S = 0.1
TERMS = Terms(hold_us=5_000_000)
# After this those whose answer nobody heard have ended by themselves.
ENDED_WITHIN_S = TERMS.hold_us / 1e6 + 4


@dataclass
class Site:
    """Replicas on one Valkey, each by a wire of its own."""

    books: stores.RedisServer | RedisCluster
    state: Path
    settings: list[Settings]
    wires: list[Proxy]
    replicas: list[Killable]
    load: Load
    killed_at: float = 0.0

    @property
    def redis(self) -> stores.RedisServer:
        assert isinstance(self.books, stores.RedisServer)
        return self.books

    def restart(self, place: int) -> None:
        """A new process in the place of one that was killed; again, as a supervisor would, when it does not reach Redis in the
        time that a start takes: with a thousand callers its wire is slow."""
        for _ in range(_STARTS):
            with contextlib.suppress(RuntimeError):
                self.replicas[place] = Killable(self.settings[place], self.state / str(place))
                break
        else:
            raise RuntimeError("the replica does not start")
        self.load.replicas[place] = self.replicas[place].served


_STARTS = 5
Fault = Callable[[Site], Awaitable[None]]


async def _nothing(site: Site) -> None:
    await asyncio.sleep(2)


async def _kill_replicas(site: Site) -> None:
    """SIGKILL, one after the other, each started again."""
    for place in range(REPLICAS):
        await asyncio.to_thread(site.replicas[place].kill)
        await asyncio.to_thread(site.restart, place)
        await asyncio.sleep(0.5)


async def _kill_redis(site: Site) -> None:
    await asyncio.to_thread(site.redis.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(site.redis.start)
    await asyncio.sleep(3)


async def _cut(site: Site) -> None:
    """One replica hears nothing of Redis for a while."""
    site.wires[0].cut()
    await asyncio.sleep(7)
    site.wires[0].heal()
    await asyncio.sleep(3)


async def _stop_replica(site: Site) -> None:
    os.kill(site.replicas[0].pid, signal.SIGSTOP)
    await asyncio.sleep(3)
    os.kill(site.replicas[0].pid, signal.SIGCONT)
    await asyncio.sleep(2)


async def _stop_redis(site: Site) -> None:
    os.kill(site.redis.pid, signal.SIGSTOP)
    await asyncio.sleep(3)
    os.kill(site.redis.pid, signal.SIGCONT)
    await asyncio.sleep(2)


async def _fail_over(site: Site) -> None:
    """The cluster's primary of the tenant's bucket is killed, and its replica answers in its place."""
    assert isinstance(site.books, RedisCluster)
    cluster, key = site.books, keys.ends_key(keys.bucket_of(site.load.caller.organisation))
    dead = await cluster.primary_of(key)
    site.killed_at = time.monotonic()
    await asyncio.to_thread(dead.kill)

    async def has_moved() -> bool:
        return await cluster.primary_of(key) is not dead

    await until(has_moved, within_s=30)
    await asyncio.sleep(3)


@dataclass(frozen=True)
class Case:
    """A fault. `alone`: how many replicas go on alone, and for how many seconds at most."""

    name: str
    fault: Fault
    skew_s: float = 0.0
    alone: tuple[int, float] = (0, 0.0)
    cluster: bool = False

    @property
    def allowed(self) -> float:
        """What may be admitted above burst + rate·t."""
        replicas, seconds = self.alone
        return replicas / REPLICAS * (LIMIT.burst + LIMIT.per_minute / 60 * seconds)


CASES = (
    Case("none", _nothing),
    Case("replicas killed", _kill_replicas),
    Case("replica stopped 3 s", _stop_replica),
    Case("clocks 5 s apart", _nothing, skew_s=5.0),
    Case("Redis stopped 3 s", _stop_redis),
    Case("Redis killed", _kill_redis, alone=(REPLICAS, 3.0)),
    Case("replica cut off 7 s", _cut, alone=(1, 8.0)),
    Case("primary of a cluster killed", _fail_over, alone=(REPLICAS, 6.0), cluster=True),
)


@asynccontextmanager
async def site(case: Case, state: Path) -> AsyncIterator[Site]:
    """Three replicas that serve, with a tenant whose limit they share. Their clocks may differ from ours, before and behind."""
    async with AsyncExitStack() as stack:
        wires: list[Proxy] = []
        if case.cluster:
            books = RedisCluster()
            stack.callback(books.remove)
            await books.start()
            urls = [books.url] * REPLICAS
        else:
            books = stack.enter_context(stores.running(stores.BOOKS))
            wires = [await stack.enter_async_context(proxy_to(books.port)) for _ in range(REPLICAS)]
            urls = [f"redis://127.0.0.1:{wire.port}/0" for wire in wires]
        sql, key, standby = f"sqlite:///{state}/quota.db", state / "quota.key", StandbyTerms(REPLICAS)
        settings = [Settings(url, sql, key, terms=TERMS, standby=standby) for url in urls]
        skews = (0.0, case.skew_s, -case.skew_s)
        replicas: list[Killable] = []
        for place in range(REPLICAS):
            replicas.append(await asyncio.to_thread(Killable, settings[place], state / str(place), skews[place]))
        load = Load([one.served for one in replicas], LIMIT, TERMS)
        await load.onboard()
        try:
            yield Site(books, state, settings, wires, replicas, load)
        finally:
            for one in replicas:
                await one.served.close()
                await asyncio.to_thread(one.kill)


@dataclass(frozen=True)
class Run:
    """What came of one run; `lag_s` is how long before a primary's death the oldest settlement was heard that it took along."""

    outcome: Outcome
    lag_s: float


async def _run(case: Case, callers: int, quiet_s: float) -> Run:
    with tempfile.TemporaryDirectory(prefix="tenantry-faults-") as folder:
        async with site(case, Path(folder)) as made:
            async with made.load.running(callers):
                await asyncio.sleep(1)
                await case.fault(made)
                await asyncio.sleep(1)
            await asyncio.sleep(quiet_s)
            outcome = await made.load.check()
            heard = [made.killed_at - outcome.heard[name] for name in outcome.lost]
            return Run(outcome, max(heard, default=0.0))


def run(
    *,
    runs: int = 10 if FULL else 1,
    callers: int = 1_000 if FULL else 200,
    cases: tuple[Case, ...] = CASES,
    quiet_s: float = ENDED_WITHIN_S,
) -> Report:
    """The benchmark. Small numbers try it out."""
    report = Report(
        (
            "fault",
            "runs",
            "admitted",
            "above burst + rate·t",
            "allowed",
            "settled",
            "lost",
            "doubled",
            "wrong",
            "holds left",
        )
    )
    for case in cases:
        _report(case, [uvloop.run(_run(case, callers, quiet_s)) for _ in range(runs)], report)
    return report


def _report(case: Case, runs: Sequence[Run], report: Report) -> None:
    outcomes = [one.outcome for one in runs]
    admitted = sum(len(one.admitted) for one in outcomes)
    worst = max(0.0, *(one.over for one in outcomes))
    counts = {
        name: sum(len(getattr(one, name)) for one in outcomes) for name in ("settled", "lost", "doubled", "wrong")
    }
    leaked = sum(one.leaked for one in outcomes)
    cells = (f"{admitted:,}", f"{worst:.1f}", f"{case.allowed:.0f}", *(f"{count:,}" for count in counts.values()))
    report.row(case.name, str(len(runs)), *cells, str(leaked))
    name = case.name.replace(" ", "_")
    report.figure(f"{name}_admitted", admitted, 0)
    report.figure(f"{name}_over", worst, 1)
    report.goal(f"{case.name}: at most {case.allowed:.0f} above burst + rate·t", worst <= case.allowed + 1e-6)
    if case.cluster:
        # What a primary had acknowledged and not yet sent to its replica goes with it: stated, not held against it.
        lag_s = max(one.lag_s for one in runs)
        report.row(f"  settled at most {lag_s * 1000:.0f} ms before it died", *[""] * 9)
        report.figure(f"{name}_lag_ms", lag_s * 1000, 1)
        report.figure(f"{name}_forgotten", counts["lost"], 0)
        report.goal(f"{case.name}: forgot what its replica had not got, {MOST_LAG_S:g} s at most", lag_s <= MOST_LAG_S)
        counts["lost"] = 0
    unhurt = not any((counts["lost"], counts["doubled"], counts["wrong"], leaked))
    report.goal(f"{case.name}: nothing lost, doubled, wrong or left", unhurt)
