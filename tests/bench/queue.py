"""What the queue costs: time in Redis for each step at 10 to 10^5 backlogged tenants, and memory a waiting call.

Times are Redis's own (INFO commandstats), so that neither the network nor Python is in them.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import uvloop

from tenantry.kit.owner import Pool
from tenantry.kit.redis import Redis, connect
from tenantry.quota.slot import Call, Granted, How, PoolSettings, QueueTerms, Waiting
from tenantry.quota.store_redis_queue import RedisQueues
from tests.bench.report import FULL, Report
from tests.harness import stores

SIZES = (10, 1_000, 100_000)
MOST_US = 100.0
# From 10 to 10^5 tenants log n grows fivefold; what is linear would grow ten thousand times.
MOST_GROWTH = 5.0
_AT_ONCE = 64
_POOL = Pool("bench:pool")
_SETTINGS = PoolSettings(capacity=1, most_waiting=1_000_000)
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
    """A pool of one seat with a tenant's call in it, and others waiting."""

    def __init__(self, redis: Redis, tenants: int) -> None:
        self._redis = redis
        self._queues = RedisQueues(redis, _TERMS)
        self._dice = random.Random(1)
        self._tenants = tenants
        self._number = 0
        self._running: tuple[str, str] | None = None
        self._waiting: dict[str, str] = {}

    async def fill(self) -> None:
        """A waiting call for each tenant, each tenant in an organisation of its own."""
        places = iter(range(self._tenants + 1))

        async def work() -> None:
            for place in places:
                await self._acquire(place % self._tenants)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())

    async def enqueue(self) -> None:
        """One more waits."""
        await self._acquire(self._dice.randrange(self._tenants))

    async def charge(self) -> None:
        """The running call has written more."""
        ticket, tenant = self._current()
        self._number += 1
        await self._queues.renew(_POOL, [(ticket, tenant, self._number)], _SETTINGS)

    async def settle(self) -> None:
        """The running call ends, and the next is granted."""
        ticket, tenant = self._current()
        said = await self._queues.release(_POOL, ticket, tenant, -1, How.OK, 0, _SETTINGS)
        granted = said.news[0].ticket
        self._running = (granted, self._waiting.pop(granted))

    async def memory(self) -> int:
        """Bytes that the server uses."""
        found = re.search(rb"used_memory:(\d+)", await self._redis.execute("INFO", "memory"))
        assert found is not None
        return int(found[1])

    def _current(self) -> tuple[str, str]:
        assert self._running is not None
        return self._running

    async def _acquire(self, place: int) -> None:
        self._number += 1
        tenant, ticket = f"tenant-{place}", f"res_{self._number:022}"
        call = Call(ticket, f"org-{place}", tenant, 1, 1_000, 0, 200, 800)
        answer = (await self._queues.acquire(_POOL, call, _SETTINGS)).answer
        if isinstance(answer, Granted):
            self._running = (ticket, tenant)
        else:
            assert isinstance(answer, Waiting), answer
            self._waiting[ticket] = tenant


async def _time(redis: Redis, step: Callable[[], Awaitable[Any]], times: int) -> float:
    """Microseconds in Redis a step."""
    await redis.execute("CONFIG", "RESETSTAT")
    for _ in range(times):
        await step()
    found = _STAT.search(await redis.execute("INFO", "commandstats"))
    assert found is not None and int(found[1]) == times, "a step is one call"
    return int(found[2]) / times


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
        numbers = iter(range(times))

        async def granted() -> None:
            number = next(numbers)
            call = Call(f"res_{number:022}", "org", "tenant", 1, 1_000_000, 0, 200, 800)
            await queues.acquire(_POOL, call, wide)

        alone_us = await _time(redis, granted, times)
        return Costs(enqueue_us, charge_us, settle_us, alone_us, waiting_bytes)
    finally:
        await redis.close()


def run(*, sizes: tuple[int, ...] = SIZES, times: int = 5_000 if FULL else 2_000) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    report = Report(
        ("backlogged tenants", "enqueue", "charge", "settle and grant", "grant at once", "memory a waiting call")
    )
    found: dict[int, Costs] = {}
    with stores.running(_MEMORY_ONLY) as server:
        for size in sizes:
            costs = found[size] = uvloop.run(_measure(server.url, size, times))
            steps = (costs.enqueue_us, costs.charge_us, costs.settle_us, costs.alone_us)
            report.row(f"{size:,}", *(f"{step:.0f} µs" for step in steps), f"{costs.waiting_bytes:.0f} B")
            for name in ("enqueue", "charge", "settle", "alone"):
                report.figure(f"{name}_us_at_{size}", getattr(costs, f"{name}_us"), 1)
            report.figure(f"waiting_bytes_at_{size}", costs.waiting_bytes, 0)
    least, most = found[sizes[0]], found[sizes[-1]]
    for name in ("enqueue", "charge", "settle"):
        at_least, at_most = getattr(least, f"{name}_us"), getattr(most, f"{name}_us")
        report.goal(f"{name} ≤ {MOST_US:.0f} µs at {sizes[-1]:,}", at_most <= MOST_US)
        report.goal(f"{name} grows as log n", at_most <= MOST_GROWTH * at_least)
    return report
