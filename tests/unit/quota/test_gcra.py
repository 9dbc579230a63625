"""The rate rule: what it admits, and that it is exact."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry.quota import gcra
from tenantry.quota.gcra import NEVER, UNITS, Bucket

MINUTE_US = 60_000_000


def test_a_full_bucket_admits_its_burst_and_not_one_more() -> None:
    bucket = Bucket(0, 60)
    assert gcra.wait_us(bucket, 10, 10) == 0
    bucket = gcra.take(bucket, 1, 10)
    assert gcra.available(bucket, 10) == 0
    assert gcra.wait_us(bucket, 1, 10) == 1_000_000


def test_the_wait_is_the_first_microsecond_that_admits() -> None:
    bucket = gcra.take(Bucket(0, 7), 1, 10)
    wait = gcra.wait_us(bucket, 3, 10)
    assert gcra.wait_us(gcra.leak(bucket, wait - 1, 7), 3, 10) == 1
    assert gcra.wait_us(gcra.leak(bucket, wait, 7), 3, 10) == 0


def test_more_than_the_burst_is_never_admitted() -> None:
    assert gcra.wait_us(Bucket(0, 60), 11, 10) == NEVER


def test_a_refund_at_once_makes_room_for_as_much() -> None:
    bucket = gcra.take(gcra.take(Bucket(0, 60), 1, 6), 2, 4)
    bucket = gcra.give_back(bucket, 1, 6)
    assert gcra.available(bucket, 10) == 6


def test_a_refund_never_lifts_a_bucket_above_its_burst() -> None:
    bucket = gcra.take(Bucket(0, 60), 1, 5)
    bucket = gcra.give_back(gcra.leak(bucket, MINUTE_US, 60), 1, 5)
    assert gcra.available(bucket, 10) == 10


def test_a_refund_does_not_pay_with_the_room_that_a_later_call_took() -> None:
    # Burst 100, 1 a second. Two holds of 50; a minute later 60 more are admitted, then the second hold costs nothing.
    # Taken off the level, its refund would leave room for 50: 110 admitted in no time at all.
    bucket = gcra.take(gcra.take(Bucket(0, 60), 1, 50), 2, 50)
    bucket = gcra.take(gcra.leak(bucket, MINUTE_US, 60), 3, 60)
    assert gcra.available(gcra.give_back(bucket, 2, 50), 100) == 40


def test_a_debt_makes_later_admissions_wait() -> None:
    bucket = gcra.owe(gcra.take(Bucket(0, 60), 1, 10), 2, 5)
    assert gcra.available(bucket, 10) == -5
    assert gcra.wait_us(bucket, 1, 10) == 6_000_000


def test_a_debt_has_a_ceiling_below_which_all_numbers_stay_exact() -> None:
    bucket = Bucket(0, 1)
    for number in range(5):
        bucket = gcra.owe(bucket, number, 10**15)
    assert bucket.level == gcra.MOST_UNITS < 2**53


def test_a_clock_that_goes_back_leaks_nothing() -> None:
    bucket = gcra.take(Bucket(1_000_000, 60), 1, 10)
    assert gcra.leak(bucket, 0, 60) == bucket


def test_a_rate_that_changed_counts_from_the_first_look_and_the_slower_before() -> None:
    bucket = gcra.take(Bucket(0, 60), 1, 10)
    assert gcra.available(gcra.leak(bucket, 1_000_000, 600), 10) == 1
    assert gcra.available(gcra.leak(bucket, 1_000_000, 30), 10) == 0
    assert gcra.available(gcra.leak(gcra.leak(bucket, 0, 600), 1_000_000, 600), 10) == 10


@dataclass
class Call:
    """A call as the bound counts it: at its admission, with the smaller of held and settled."""

    number: int
    at_us: int
    held: int
    counted: int


@dataclass
class Limit:
    """A bucket and the history that its level must follow."""

    rate: int
    burst: int
    now_us: int = 0
    number: int = 0
    bucket: Bucket = field(default_factory=lambda: Bucket(0, 1))
    calls: list[Call] = field(default_factory=list[Call])
    running: list[Call] = field(default_factory=list[Call])

    def __post_init__(self) -> None:
        self.bucket = Bucket(0, self.rate)

    def advance(self, by_us: int) -> None:
        self.now_us += by_us
        self.bucket = gcra.leak(self.bucket, self.now_us, self.rate)

    def reserve(self, amount: int) -> None:
        if gcra.wait_us(self.bucket, amount, self.burst) != 0:
            return
        self.number += 1
        self.bucket = gcra.take(self.bucket, self.number, amount)
        call = Call(self.number, self.now_us, amount, amount)
        self.calls.append(call)
        self.running.append(call)

    def settle(self, which: int, used: int) -> None:
        if not self.running:
            return
        call = self.running.pop(which % len(self.running))
        call.counted = min(call.held, used)
        self.bucket = gcra.close(gcra.give_back(self.bucket, call.number, call.held - call.counted), call.number)
        if used > call.held:
            self.number += 1
            self.bucket = gcra.owe(self.bucket, self.number, used - call.held)

    def exact_level(self) -> int:
        """The largest, over all moments s, of what was admitted since s less what leaked since s."""
        level, counted = 0, 0
        for call in reversed(self.calls):
            counted += call.counted * UNITS
            level = max(level, counted - self.rate * (self.now_us - call.at_us))
        return level

    def most_over_the_bound(self) -> int:
        """The most by which any stretch of time admitted more than burst + rate·t."""
        over = 0
        for first, start in enumerate(self.calls):
            counted = 0
            for end in self.calls[first:]:
                counted += end.counted * UNITS
                over = max(over, counted - self.burst * UNITS - self.rate * (end.at_us - start.at_us))
        return over


_amounts = st.integers(0, 120)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(0, 40_000_000), st.just(0)),
        st.tuples(st.just("reserve"), _amounts, st.just(0)),
        st.tuples(st.just("settle"), st.integers(0, 5), _amounts),
    ),
    max_size=60,
)


def _run(limit: Limit, steps: list[tuple[str, int, int]], *, debts: bool) -> None:
    for kind, first, second in steps:
        if kind == "advance":
            limit.advance(first)
        elif kind == "reserve":
            limit.reserve(first)
        elif limit.running:
            most = limit.running[first % len(limit.running)].held
            limit.settle(first, second if debts else min(second, most))
        if not debts:
            assert limit.bucket.level == limit.exact_level()


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 400), st.integers(1, 120), _steps)
def test_in_any_time_no_more_is_admitted_than_burst_and_rate_allow(
    rate: int, burst: int, steps: list[tuple[str, int, int]]
) -> None:
    limit = Limit(rate, burst)
    _run(limit, steps, debts=True)
    assert limit.most_over_the_bound() <= 0


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 400), st.integers(1, 120), _steps)
def test_without_debts_the_level_is_exactly_what_the_history_says(
    rate: int, burst: int, steps: list[tuple[str, int, int]]
) -> None:
    _run(Limit(rate, burst), steps, debts=False)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 200), st.integers(0, 60_000_000))
def test_more_holds_than_a_bucket_keeps_apart_still_obey_the_bound(more: int, pause_us: int) -> None:
    limit = Limit(600, 400)
    for _ in range(gcra.MOST_CHARGES + more):
        limit.reserve(1)
    assert len(limit.bucket.charges) <= gcra.MOST_CHARGES
    limit.advance(pause_us)
    for which in range(len(limit.running)):
        limit.settle(which * 7, 0)
        limit.reserve(1)
    assert limit.most_over_the_bound() <= 0
    assert limit.bucket.level >= limit.exact_level()
