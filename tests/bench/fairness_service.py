"""Workloads of the paper on the real service: two replicas on one Valkey, and callers that keep each place for as long
as its answer takes, told as models tells it. Time runs faster; all that is said is in the workload's own seconds.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

import uvloop

from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.api.quota.v1.reservation_service_pb2 import Receipt
from tenantry.quota.simulation import Arrival, Fate, Provider
from tests.bench.replicas import Replica, begin, replicas

REPLICAS = 2
# As models tells what was written.
_TELL_EVERY_S = 0.2


class _Calls:
    """The calls of a workload. Each has its fate, which one that is stopped while it waits leaves unfinished."""

    def __init__(self, pool: str, receipts: Mapping[str, Receipt], provider: Provider, faster: float) -> None:
        self._pool = pool
        self._receipts = receipts
        self._provider = provider
        self._faster = faster
        self._begun = time.perf_counter()
        self.fates: list[Fate] = []
        # How late a call was sent at worst, since the machine could not keep up.
        self.late_s = 0.0

    async def make(self, arrivals: Sequence[Arrival], running: Sequence[Replica], seconds: float) -> None:
        """All arrivals at their times, until then; who has not ended by then is stopped."""
        tasks: list[asyncio.Task[None]] = []
        for number, arrival in enumerate(arrivals):
            await asyncio.sleep(max(0.0, arrival.at_s / self._faster - (time.perf_counter() - self._begun)))
            self.late_s = max(self.late_s, self._now() - arrival.at_s)
            tasks.append(asyncio.create_task(self._call(arrival, running[number % len(running)], number)))
        await asyncio.sleep(max(0.0, seconds / self._faster - (time.perf_counter() - self._begun)))
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _call(self, arrival: Arrival, replica: Replica, number: int) -> None:
        wanted = begin(self._receipts[arrival.tenant], self._pool, arrival.input_tokens, arrival.output_tokens)
        fate = Fate(Arrival(self._now(), arrival.tenant, arrival.input_tokens, arrival.output_tokens))
        self.fates.append(fate)
        try:
            place = await replica.wait(wanted, number)
            fate.granted_s = self._now()
            ends_at = time.perf_counter() + arrival.output_tokens * self._provider.token_s / self._faster
            while (left_s := ends_at - time.perf_counter()) > _TELL_EVERY_S:
                await asyncio.sleep(_TELL_EVERY_S)
                await place.progress(self._written(arrival, ends_at))
            await asyncio.sleep(left_s)
            fate.ended_s = self._now()
            await place.end(arrival.output_tokens)
        finally:
            self._stop(fate)

    def _written(self, arrival: Arrival, ends_at: float) -> int:
        left = (ends_at - time.perf_counter()) * self._faster / self._provider.token_s
        return max(0, arrival.output_tokens - int(left))

    def _stop(self, fate: Fate) -> None:
        """One that still waited leaves; one that ran has written a part."""
        if fate.granted_s is None:
            fate.left_s = self._now()
        elif fate.ended_s is None:
            fate.ended_s = self._now()
            written = int((fate.ended_s - fate.granted_s) / self._provider.token_s)
            one = fate.arrival
            fate.arrival = Arrival(one.at_s, one.tenant, one.input_tokens, min(written, one.output_tokens))

    def _now(self) -> float:
        return (time.perf_counter() - self._begun) * self._faster


async def _serve(
    arrivals: Sequence[Arrival], pool: Mapping[str, int], provider: Provider, weights: Mapping[str, int], faster: float
) -> tuple[list[Fate], float]:
    seconds = max(arrival.at_s for arrival in arrivals)
    async with replicas(REPLICAS) as all:
        receipts = {
            tenant: await all.onboard(weights.get(tenant, 1)) for tenant in sorted({one.tenant for one in arrivals})
        }
        name = await all.set_pool(kind=pb.POOL_KIND_TOKENS, **pool)
        calls = _Calls(name, receipts, provider, faster)
        await calls.make(arrivals, all.running, seconds)
        return calls.fates, calls.late_s


def serve(
    arrivals: Sequence[Arrival],
    capacity: int,
    provider: Provider,
    weights: Mapping[str, int] | None = None,
    *,
    faster: float = 20,
) -> tuple[list[Fate], float]:
    """What became of each, and how late the callers were at worst: seconds of the workload."""
    return uvloop.run(_serve(arrivals, {"capacity": capacity}, provider, weights or {}, faster))
