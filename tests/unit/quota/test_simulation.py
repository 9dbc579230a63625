"""Simulations: limits before the queue, what refuses whom, and what it came to."""

import pytest

from tenantry.quota.entries import Limits
from tenantry.quota.outcomes import largest_difference, outcomes
from tenantry.quota.served import Prices
from tenantry.quota.simulation import Arrival, Fate, Member, Provider, simulate
from tenantry.quota.slot import Kind, PoolSettings

PROVIDER = Provider(0.01)
SEATS = PoolSettings(Kind.SEATS, 1)
PRICES = Prices(1, 2)


def every(seconds: float, tenant: str, count: int, tokens: tuple[int, int] = (10, 10)) -> list[Arrival]:
    return [Arrival(number * seconds, tenant, *tokens) for number in range(count)]


def refused(fates: list[Fate]) -> list[str]:
    return [fate.refused for fate in fates]


def test_requests_above_a_rate_are_refused_until_its_bucket_has_leaked() -> None:
    limits = Limits(requests_per_minute=60, request_burst=2)
    fates = simulate(every(0.5, "a", 6), PoolSettings(), PROVIDER, {"a": Member("a", limits=limits)})
    # Two at once, then one a second: of two a second every other one.
    assert refused(fates) == ["", "", "", "requests_per_minute", "", "requests_per_minute"]


def test_of_several_limits_the_one_that_refuses_for_longest_is_named() -> None:
    limits = Limits(requests_per_minute=60, request_burst=1, tokens_per_minute=60, token_burst=20)
    fates = simulate(every(0.0, "a", 2), PoolSettings(), PROVIDER, {"a": Member("a", limits=limits)})
    assert refused(fates) == ["", "tokens_per_minute"]
    large = simulate([Arrival(0, "a", 21, 0)], PoolSettings(), PROVIDER, {"a": Member("a", limits=limits)})
    assert refused(large) == ["tokens_per_minute"]


def test_a_days_tokens_come_again_with_the_next_day() -> None:
    members = {"a": Member("a", limits=Limits(tokens_per_day=50))}
    fates = simulate(every(43_200, "a", 4, (30, 0)), PoolSettings(), PROVIDER, members)
    assert refused(fates) == ["", "tokens_per_day", "", "tokens_per_day"]


def test_a_running_request_holds_its_place_of_the_concurrent_ones_until_it_was_answered_or_refused() -> None:
    members = {"a": Member("a", limits=Limits(concurrent_requests=1))}
    fates = simulate(every(0.06, "a", 4), PoolSettings(), PROVIDER, members)  # each takes 0.1 s
    assert refused(fates) == ["", "concurrent_requests", "", "concurrent_requests"]
    none_waits = PoolSettings(Kind.SEATS, 1, most_waiting=0)
    crowded = [Arrival(0, "b", 10, 100), *(Arrival(0.1 + number * 0.4, "a", 10, 10) for number in range(4))]
    fates = simulate(crowded, none_waits, PROVIDER, members)
    assert refused(fates) == ["", "queue_full", "queue_full", "queue_full", ""]


def test_limits_hold_when_first_come_is_first_served() -> None:
    members = {"a": Member("a", limits=Limits(requests_per_minute=60, request_burst=1))}
    fates = simulate([*every(0.0, "a", 3), Arrival(0, "b")], SEATS, PROVIDER, members, fair=False)
    assert [fate.refused for fate in fates if fate.arrival.tenant == "b"] == [""]
    assert refused(fates).count("requests_per_minute") == 2


def test_what_the_queue_refuses_is_named_and_each_fate_is_counted_once() -> None:
    told: list[int] = []
    full = PoolSettings(Kind.TOKENS, 100, most_waiting=1)
    arrivals = [
        Arrival(0, "a", 50, 50),
        Arrival(0, "a", 50, 51),
        Arrival(0.01, "b", 50, 50, patience_s=0),
        Arrival(0.02, "b", 50, 50),
        Arrival(1.0, "c", 50, 50),
        Arrival(1.01, "c", 50, 50, patience_s=0.01),
    ]
    fates = simulate(arrivals, full, PROVIDER, done=lambda: told.append(1))
    assert refused(fates)[1] == "larger_than_pool" and "queue_full" in refused(fates) and "queue_late" in refused(fates)
    assert len(told) == len(arrivals)


@pytest.mark.parametrize("fair", [True, False])
def test_nobody_waits_for_longer_than_its_patience_and_who_gives_up_leaves_no_place_behind(fair: bool) -> None:
    arrivals = [Arrival(number / 100, "ab"[number % 2], 10, 50, patience_s=2.0) for number in range(100)]
    fates = simulate([*arrivals, Arrival(60, "a", 10, 10)], SEATS, PROVIDER, fair=fair)
    assert all((fate.wait_s or 0.0) <= 2.0 for fate in fates)
    assert set(refused(fates)) == {"", "queue_late"} and fates[-1].wait_s == 0.0
    assert all((fate.granted_s is None) == bool(fate.refused) for fate in fates)


def test_outcomes_say_what_each_tenant_got_against_what_its_weight_is_due() -> None:
    members = {"a": Member("one", 1), "b": Member("one", 3), "c": Member("two", 2)}
    arrivals = sorted(arrival for tenant in members for arrival in every(0.05, tenant, 400))
    fates = simulate(arrivals, SEATS, PROVIDER, members)
    rows = {row.tenant: row for row in outcomes(fates, members, PRICES)}
    assert {name: row.due for name, row in rows.items()} == {"a": 0.125, "b": 0.375, "c": 0.5}
    for row in rows.values():
        assert row.share == pytest.approx(row.due, abs=0.03)
        assert (row.requests, row.admitted, row.refused) == (400, 400, {})
        assert row.wait_p50_s is not None and row.wait_p99_s is not None and row.wait_p50_s < row.wait_p99_s
    fair = {"a": Member("a"), "b": Member("b")}
    both = sorted([*every(0.05, "a", 400), *every(0.01, "b", 400)])
    served = simulate(both, SEATS, PROVIDER, fair)
    flooded = simulate(both, SEATS, PROVIDER, fair, fair=False)
    assert largest_difference(served, fair, PRICES) < 100 < largest_difference(flooded, fair, PRICES)


def test_a_tenant_of_which_nothing_was_answered_has_no_waits() -> None:
    members = {"a": Member("a", limits=Limits(tokens_per_day=1))}
    (row,) = outcomes(simulate(every(1, "a", 2), SEATS, PROVIDER, members), members, PRICES)
    assert (row.admitted, row.refused, row.wait_p50_s, row.share) == (0, {"tokens_per_day": 2}, None, 0.0)
