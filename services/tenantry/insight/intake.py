"""Spans on their way into the store: a bounded queue that answers at once, and its writer; and the sweep of old traces."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tenantry.insight.spans import Bounds, Reported, Span, kept
from tenantry.insight.store import Jobs, Traces
from tenantry.kit.clock import Clock
from tenantry.kit.errors import TenantryError, Unavailable
from tenantry.kit.owner import Platform

log = logging.getLogger(__name__)

JOB = "sweep traces"
WRITE_EVERY_S = 0.5
SWEEP_EVERY_S = 30.0
_CLAIM_S = 30.0
_AGAIN_S = 1.0
_AT_ONCE = 1000
_TRACES_AT_ONCE = 200
# So many new spans bring the next sweep forward, so that a flood does not have half a minute.
_SWEEP_AFTER = 10_000
_LAST_S = 2.0
_PLATFORM = Platform()
# Takes a report apart: for the writer's thread, since a large one takes longer than the event loop may be held.
Read = Callable[[], Sequence[Reported]]


@dataclass(frozen=True, slots=True)
class _Report:
    """A report that waits."""

    spans: int
    size: int
    read: Read


class Intake:
    """Takes reports of spans. Spans are best effort: what finds the queue full is not kept, and its sender is told."""

    def __init__(self, traces: Traces, jobs: Jobs, clock: Clock, bounds: Bounds) -> None:
        self._traces = traces
        self._jobs = jobs
        self._clock = clock
        self._bounds = bounds
        self._queue: deque[_Report] = deque()
        self._queued = 0
        self._queued_bytes = 0
        self._unswept = 0
        self._full = asyncio.Event()

    def offer(self, spans: int, size: int, read: Read) -> bool:
        """Queues a report of so many spans and bytes; False when there is no room for it."""
        if self._queued + spans > self._bounds.queued or self._queued_bytes + size > self._bounds.queued_bytes:
            return False
        if spans:
            self._queue.append(_Report(spans, size, read))
            self._queued += spans
            self._queued_bytes += size
        return True

    async def write(self) -> None:
        """Room's background work: writes what is queued, for ever."""
        failing = False
        while True:
            try:
                await self.flush()
                failing = False
                await self._clock.sleep(WRITE_EVERY_S)
            except TenantryError as error:
                if not failing:
                    log.warning("spans can't be written: %s", error.message)
                failing = True
                await self._clock.sleep(_AGAIN_S)

    async def flush(self) -> None:
        """Writes what is queued now. What a store that is away could not take stays queued."""
        while self._queue:
            taken = self._take()
            try:
                spans = await asyncio.to_thread(_kept, [report.read for report in taken])
                if spans:
                    self._unswept += await self._traces.add(_PLATFORM, spans)
            except (Unavailable, asyncio.CancelledError):
                self._queue.extendleft(reversed(taken))
                raise
            except TenantryError:
                self._forget(taken)  # it would be refused for ever
                raise
            self._forget(taken)
            if self._unswept >= _SWEEP_AFTER:
                self._full.set()

    async def close(self) -> None:
        """Writes what is left, if that is possible in a moment."""
        try:
            async with asyncio.timeout(_LAST_S):
                await self.flush()
        except (TenantryError, TimeoutError):
            log.warning("the last spans were not written")

    async def sweep(self) -> None:
        """Room's background work: deletes what is too old or too much, for ever, one replica at a time."""
        while True:
            try:
                await self.sweep_once()
            except TenantryError as error:
                log.warning("traces can't be swept: %s", error.message)
            await self._until_due()

    async def sweep_once(self) -> None:
        """Deletes what is too old or too much, unless another replica is at it."""
        self._unswept = 0
        while await self._jobs.claim(_PLATFORM, JOB, _CLAIM_S):
            before = self._clock.now() - self._bounds.age_s
            deleted = await self._traces.delete_older(_PLATFORM, before, _TRACES_AT_ONCE)
            deleted += await self._traces.delete_surplus(_PLATFORM, self._bounds.spans, _TRACES_AT_ONCE)
            if not deleted:
                await self._jobs.release(_PLATFORM, JOB)
                return

    async def _until_due(self) -> None:
        self._full.clear()
        full = asyncio.ensure_future(self._full.wait())
        due = asyncio.ensure_future(self._clock.sleep(SWEEP_EVERY_S))
        try:
            await asyncio.wait((full, due), return_when=asyncio.FIRST_COMPLETED)
        finally:
            full.cancel()
            due.cancel()

    def _forget(self, taken: Sequence[_Report]) -> None:
        self._queued -= sum(report.spans for report in taken)
        self._queued_bytes -= sum(report.size for report in taken)

    def _take(self) -> list[_Report]:
        taken: list[_Report] = []
        while self._queue and sum(report.spans for report in taken) < _AT_ONCE:
            taken.append(self._queue.popleft())
        return taken


def _kept(reads: Sequence[Read]) -> list[Span]:
    return [span for read in reads for reported in read() if (span := kept(reported)) is not None]
