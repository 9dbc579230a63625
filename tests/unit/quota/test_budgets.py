"""Budgets of calendar periods."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tenantry.quota import budgets
from tenantry.quota.budgets import MOST_USED, NEVER, Budget

STARTS = (0, 100, 200, 300)


def test_the_current_period_is_the_one_that_holds_the_time_and_beyond_all_the_nearest() -> None:
    found = [budgets.period(STARTS, now) for now in (-5, 0, 99, 100, 199, 200, 299, 300, 999)]
    assert found == [(0, 100)] * 3 + [(100, 200)] * 2 + [(200, 300)] * 4


def test_a_budget_admits_what_is_left_and_says_when_it_begins_anew() -> None:
    budget = budgets.take(budgets.current(None, 100, 200, 1), 70)
    assert budgets.wait_us(budget, 150, 30, 100) == 0
    assert budgets.wait_us(budget, 150, 31, 100) == 50
    assert budgets.wait_us(budget, 150, 101, 100) == NEVER
    assert budgets.wait_us(budget, 150, 0, 10) == 0


def test_a_new_period_begins_empty() -> None:
    used = Budget(200, 70, 1, warned=2)
    assert budgets.current(used, 100, 200, 5) == used
    assert budgets.current(used, 200, 300, 5) == Budget(300, 0, 5)


def test_a_refund_counts_in_the_period_of_its_admission_alone() -> None:
    budget = budgets.take(Budget(200, 0, 7), 50)
    assert budgets.give_back(budget, 7, 20).used == 30
    later = budgets.take(budgets.current(budget, 200, 300, 8), 10)
    assert budgets.give_back(later, 7, 50) == later


def test_what_is_settled_above_its_hold_counts_in_the_period_of_the_settlement() -> None:
    assert budgets.owe(Budget(200, 90, 1), 150, 9, 30) == Budget(200, 120, 1)
    late = budgets.owe(Budget(200, 90, 1), 230, 9, 30)
    assert budgets.current(late, 200, 300, 10) == Budget(300, 30, 9)
    # Whoever looks a whole period later finds nothing of it.
    assert budgets.current(late, 300, 400, 10) == Budget(400, 0, 10)


def test_what_is_used_has_a_ceiling_below_which_all_numbers_stay_exact() -> None:
    assert budgets.take(Budget(200, MOST_USED - 1, 1), 10**15).used == MOST_USED < 2**53
    assert budgets.owe(Budget(200, 0, 1), 300, 2, 10**17).used == MOST_USED


_zones = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 99), st.integers(0, 60)), min_size=1, max_size=80)


@given(_zones)
def test_a_time_zone_that_is_changed_at_every_request_gains_no_budget(steps: list[tuple[int, int, int]]) -> None:
    budget, now_us, most = None, 1_000, 100
    resets: list[int] = []
    for number, (pause_us, offset, amount) in enumerate(steps, 1):
        now_us += pause_us
        start_us = (now_us - offset) // 100 * 100 + offset
        renewed = budgets.current(budget, start_us, start_us + 100, number)
        if budget is not None and renewed.used < budget.used:
            resets.append(now_us)
        budget = budgets.take(renewed, amount) if not budgets.wait_us(renewed, now_us, amount, most) else renewed
    # A day has 100 microseconds here: two beginnings are not nearer than that but by the time until the first was seen.
    assert all(later - earlier > 100 - 40 for earlier, later in pairwise(resets))
