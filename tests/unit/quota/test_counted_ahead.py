"""Calls counted ahead: few trips, and never more calls in any time than the limit says."""

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from tenantry.kit.owner import Organisation, Owner
from tenantry.quota.calls import count
from tenantry.quota.counted_ahead import LONGEST_LIFE_S, MOST_OWNERS, CountedAhead, spare
from tenantry.quota.entries import CallLimit, Counted
from tenantry.quota.gcra import Bucket
from tests.harness.clock import FrozenClock

ACME = Organisation("acme")
LIMIT = CallLimit(1_200, 20)


class Counters:
    """The books' counters by their own rule; each trip takes `trip_s`, and is counted at its end."""

    def __init__(self, clock: FrozenClock, trip_s: float = 0.0) -> None:
        self.clock = clock
        self.trip_s = trip_s
        self.trips = 0
        self._buckets: dict[Owner, Bucket] = {}

    async def count(self, owner: Owner, calls: int, limit: CallLimit, ahead: int = 0) -> Counted:
        self.trips += 1
        self.clock.advance(self.trip_s)
        now_us = round(self.clock.monotonic() * 1_000_000)
        bucket = self._buckets.get(owner, Bucket(now_us, limit.calls_per_minute))
        self._buckets[owner], counted = count(bucket, now_us, calls, limit, ahead)
        return counted


def above(times: list[float], limit: CallLimit) -> float:
    """By how many calls the worst interval exceeds burst + rate·t."""
    worst = -float(limit.burst)
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            allowed = limit.burst + limit.calls_per_minute / 60 * (times[last] - start)
            worst = max(worst, last - first + 1 - allowed)
    return worst


_steps = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 24), st.sampled_from((0.0, 0.001, 0.03, 0.06, 0.09, 0.3))), max_size=8
)


# Six calls, so that more are counted ahead; their counter leaks until it is empty; then another replica gives its whole burst.
@example(steps=[(0, 6, 0.0), (1, 200, 0.09), (0, 8, 0.0)], trip_s=0.0, limit=CallLimit(12_000, 200))
@given(steps=_steps, trip_s=st.sampled_from((0.0, 0.004)), limit=st.sampled_from((LIMIT, CallLimit(12_000, 60))))
def test_in_no_time_more_calls_enter_than_burst_and_rate_allow_at_whichever_replicas(
    steps: list[tuple[int, int, float]], trip_s: float, limit: CallLimit
) -> None:
    clock = FrozenClock()
    counters = Counters(clock, trip_s)
    replicas = [CountedAhead(counters, clock) for _ in range(3)]

    async def run() -> list[float]:
        times: list[float] = []
        for place, calls, pause_s in steps:
            clock.advance(pause_s)
            for _ in range(calls):
                if not await replicas[place].count(ACME, 1, limit):
                    times.append(clock.monotonic())
        return times

    assert above(asyncio.run(run()), limit) <= 1e-6


async def test_an_owner_who_calls_on_and_on_needs_few_trips() -> None:
    clock = FrozenClock()
    counters = Counters(clock)
    calls = CountedAhead(counters, clock)
    for _ in range(1_000):
        clock.advance(0.005)
        assert await calls.count(ACME, 1, CallLimit(24_000, 4_000)) == 0
    assert counters.trips < 200


async def test_an_owner_at_his_limit_gets_all_of_it() -> None:
    clock = FrozenClock()
    calls = CountedAhead(Counters(clock), clock)
    admitted = 0
    for _ in range(10_000):
        clock.advance(0.01)
        admitted += not await calls.count(ACME, 1, LIMIT)
    assert admitted >= 0.97 * LIMIT.calls_per_minute / 60 * 100


async def test_what_was_counted_ahead_is_given_for_its_life_and_no_longer() -> None:
    clock = FrozenClock()
    counters = Counters(clock)
    calls = CountedAhead(counters, clock)
    limit = CallLimit(1_200, 1_000)
    for _ in range(50):
        await calls.count(ACME, 1, limit)
    trips = counters.trips
    clock.advance(LONGEST_LIFE_S / 2)
    await calls.count(ACME, 1, limit)
    assert counters.trips == trips
    clock.advance(LONGEST_LIFE_S)
    await calls.count(ACME, 1, limit)
    assert counters.trips == trips + 1


async def test_a_limit_that_changed_is_asked_of_the_books_at_once() -> None:
    clock = FrozenClock()
    counters = Counters(clock)
    calls = CountedAhead(counters, clock)
    for _ in range(50):
        await calls.count(ACME, 1, CallLimit(24_000, 4_000))
    assert await calls.count(ACME, 1, CallLimit(1_200, 5)) > 0


async def test_calls_that_come_at_once_are_each_counted_and_one_of_them_asks_ahead() -> None:
    clock = FrozenClock()
    counters = Counters(clock)
    asked: list[int] = []

    class Slow:
        async def count(self, owner: Owner, calls: int, limit: CallLimit, ahead: int = 0) -> Counted:
            asked.append(ahead)
            await asyncio.sleep(0)
            return await counters.count(owner, calls, limit, ahead)

    calls = CountedAhead(Slow(), clock)
    await calls.count(ACME, 1, LIMIT)
    await asyncio.gather(*(calls.count(ACME, 1, LIMIT) for _ in range(5)))
    assert asked == [0, 2, 0, 0, 0, 0]


async def test_owners_without_end_are_not_remembered_without_end() -> None:
    clock = FrozenClock()
    calls = CountedAhead(Counters(clock), clock)
    for name in range(MOST_OWNERS + 10):
        await calls.count(Organisation(str(name)), 1, LIMIT)
    assert len(calls._owners) == MOST_OWNERS  # pyright: ignore[reportPrivateUsage]


def test_the_life_of_what_is_counted_ahead_is_short_where_a_burst_is_small_beside_its_rate() -> None:
    assert spare(CallLimit(24_000, 4_000)) == 40
    assert spare(CallLimit(2_000_000, 400)) == 40
    assert spare(CallLimit(60, 5)) == 0
