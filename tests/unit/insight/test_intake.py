"""The queue of spans and the sweep of traces."""

import asyncio
from collections.abc import Sequence

import pytest

from tenantry.insight.intake import Intake
from tenantry.insight.spans import Bounds, Reported, Span
from tenantry.kit.errors import StoreFailed, StoreUnavailable, TenantryError
from tenantry.kit.owner import Platform
from tests.harness.clock import FrozenClock
from tests.harness.poll import until

BOUNDS = Bounds(spans=10, age_s=100.0, queued=5000)


class Store:
    """What the intake writes to, and its jobs."""

    def __init__(self) -> None:
        self.stored: list[Span] = []
        self.error: TenantryError | None = None
        self.mine = True
        self.older = [2, 0, 0]
        self.surplus = [0, 3, 0]
        self.asked: list[object] = []

    async def add(self, owner: Platform, found: Sequence[Span]) -> int:
        if self.error is not None:
            raise self.error
        self.stored += found
        return len(found)

    async def delete_older(self, owner: Platform, stored_before: float, most: int) -> int:
        self.asked.append(stored_before)
        return self.older.pop(0) if self.older else 0

    async def delete_surplus(self, owner: Platform, spans: int, most: int) -> int:
        self.asked.append(spans)
        return self.surplus.pop(0) if self.surplus else 0

    async def claim(self, owner: Platform, job: str, seconds: float) -> bool:
        return self.mine

    async def release(self, owner: Platform, job: str) -> None:
        self.asked.append("released")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def intake(store: Store, clock: FrozenClock) -> Intake:
    return Intake(store, store, clock, BOUNDS)  # type: ignore[arg-type]  # it stands in for both


def reported(number: int) -> Reported:
    attributes = (("tenantry.tenant.id", "acme"),)
    return Reported(b"t" * 16, number.to_bytes(8), b"", "tenantry-x", "w", 1, 2, False, attributes)


def offer(intake: Intake, spans: int, first: int = 1) -> bool:
    return intake.offer(spans, 100 * spans, lambda: [reported(number) for number in range(first, first + spans)])


async def test_what_is_offered_is_written_without_the_junk(intake: Intake, store: Store) -> None:
    assert offer(intake, 3)
    assert intake.offer(1, 0, lambda: [Reported(b"", b"", b"", "", "", 0, 0, False, ())])
    await intake.flush()
    assert [int(span.span_id, 16) for span in store.stored] == [1, 2, 3]


async def test_what_finds_the_queue_full_is_not_taken_and_there_is_room_after_writing(
    intake: Intake, store: Store
) -> None:
    assert offer(intake, 4096) and not offer(intake, 1000) and offer(intake, 904)
    await intake.flush()
    assert len(store.stored) == 5000 and offer(intake, 5000)


async def test_large_reports_fill_the_queue_too(store: Store, clock: FrozenClock) -> None:
    intake = Intake(store, store, clock, Bounds(queued_bytes=250))  # type: ignore[arg-type]
    assert offer(intake, 1) and offer(intake, 1) and not offer(intake, 1)
    await intake.flush()
    assert offer(intake, 2)


async def test_a_store_that_is_away_gets_the_same_spans_when_it_is_back(
    intake: Intake, store: Store, clock: FrozenClock
) -> None:
    store.error = StoreUnavailable("sql")
    offer(intake, 2)
    writing = asyncio.create_task(intake.write())
    await until(lambda: clock.sleepers == 1)
    store.error = None
    clock.advance(1.0)
    await until(lambda: len(store.stored) == 2)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def test_what_a_store_refuses_is_dropped_and_the_next_is_written(intake: Intake, store: Store) -> None:
    store.error = StoreFailed("odd")
    offer(intake, 5000)
    with pytest.raises(StoreFailed):
        await intake.flush()
    store.error = None
    assert offer(intake, 1)
    await intake.flush()
    assert len(store.stored) == 1


async def test_closing_writes_what_is_left_and_never_raises(intake: Intake, store: Store) -> None:
    offer(intake, 2)
    store.error = StoreUnavailable("sql")
    await intake.close()
    store.error = None
    await intake.close()
    assert len(store.stored) == 2


async def test_a_sweep_goes_on_until_nothing_is_too_old_or_too_much(
    intake: Intake, store: Store, clock: FrozenClock
) -> None:
    await intake.sweep_once()
    assert store.asked == [clock.now() - 100, 10] * 3 + ["released"]


async def test_a_replica_without_the_claim_sweeps_nothing(intake: Intake, store: Store) -> None:
    store.mine = False
    await intake.sweep_once()
    assert store.asked == []


async def test_a_flood_brings_the_next_sweep_forward(store: Store, clock: FrozenClock) -> None:
    intake = Intake(store, store, clock, Bounds(queued=20_000))  # type: ignore[arg-type]
    sweeping = asyncio.create_task(intake.sweep())
    await until(lambda: clock.sleepers == 1)
    swept = store.asked.count("released")
    for first in (0, 4000, 8000):
        offer(intake, 4000, first + 1)
    await intake.flush()
    await until(lambda: store.asked.count("released") > swept)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
