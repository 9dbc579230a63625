"""How guessing is slowed, by a clock that a test moves."""

import pytest

from tenantry.kit.errors import Reason, ResourceExhausted
from tenantry.tenancy.guesses import A_SECOND, BURST, MOST_SOURCES, SPARE_BURST, Guesses, source_of
from tests.harness.clock import FrozenClock

FLOOD = int(BURST)


@pytest.fixture
def guesses(clock: FrozenClock) -> Guesses:
    return Guesses(clock)


def fail(guesses: Guesses, source: str, times: int) -> int:
    """How many of so many guesses were refused for their number."""
    refused = 0
    for _ in range(times):
        try:
            guesses.check(source)
            guesses.failed(source)
        except ResourceExhausted as error:
            assert error.reason is Reason.TOO_MANY_FAILURES and error.retry_after_s == 1.0
            refused += 1
    return refused


def test_a_source_may_fail_so_often_and_then_once_a_second(guesses: Guesses, clock: FrozenClock) -> None:
    assert fail(guesses, "a", FLOOD + 5) == 5
    clock.advance(10)
    assert fail(guesses, "a", 20) == 20 - int(10 * A_SECOND)
    assert fail(guesses, "b", FLOOD) == 0


def test_a_good_credential_from_where_somebody_guesses_is_looked_at_all_the_same(
    guesses: Guesses, clock: FrozenClock
) -> None:
    fail(guesses, "a", FLOOD)
    guesses.check("a")  # which then proves good, so that nothing is counted
    fail(guesses, "a", 10 * FLOOD)
    with pytest.raises(ResourceExhausted):
        guesses.check("a")
    clock.advance(0.1)
    guesses.check("a")


def test_sources_over_their_allowance_cost_no_more_look_ups_however_many_they_are(guesses: Guesses) -> None:
    looked = 0
    for source in range(20):
        fail(guesses, str(source), FLOOD)
    for source in range(20):
        for _ in range(100):
            try:
                guesses.check(str(source))
                looked += 1
            except ResourceExhausted:
                pass
    assert looked == SPARE_BURST


def test_sources_without_end_are_not_remembered(guesses: Guesses) -> None:
    for number in range(MOST_SOURCES + 100):
        guesses.failed(str(number))
    assert len(guesses._sources) == MOST_SOURCES  # pyright: ignore[reportPrivateUsage]


def test_a_customer_with_ipv6_is_one_source() -> None:
    assert source_of("2001:db8:0:1::1") == source_of("2001:db8:0:1:ffff::2") != source_of("2001:db8:0:2::1")
    assert source_of("192.0.2.1") == source_of("::ffff:192.0.2.1") != source_of("192.0.2.2")
    assert source_of("") == source_of("nonsense") == ""
