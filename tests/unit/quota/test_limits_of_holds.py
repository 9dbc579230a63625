"""Holds under limits of every measure, by the Python rules that the scripts follow."""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry.kit.owner import Tenant
from tenantry.quota import keys
from tenantry.quota.entries import (
    Amounts,
    Ask,
    Demand,
    Full,
    Held,
    Limits,
    OutboxFull,
    Refused,
    Renewed,
    Subject,
    Warned,
)
from tenantry.quota.holds import Holds, Terms, cost_micros
from tests.harness.demands import DAY_US, demand_of, subject_of

ACME = Tenant("acme-org", "acme")
OUTPUTS = keys.outputs_field(ACME, "gpt")
SECOND = 1_000_000
NOON = 100 * DAY_US + DAY_US // 2
WIDE = Limits(10**6, 10**6, 10**8, 10**8, 1_000)


def reserve(
    holds: Holds, demand: Demand, name: str, now_us: int = NOON, *, read: int = 10, most: int = 0, price: int = 0
) -> Held | Refused | OutboxFull:
    ask = Ask(ACME, f"res_{name}", name, "key_1", "ann", "gpt", "req", read, most, price, price)
    return holds.reserve(now_us, name, OUTPUTS, ask, demand)


def commit(holds: Holds, name: str, now_us: int = NOON, read: int = 10, written: int = 0, cost: int = 0) -> bool:
    used = Amounts(1, read + written, read, written, cost)
    return holds.commit(now_us, f"res_{name}", OUTPUTS, used, name)


def refusing(answer: object) -> list[tuple[int, str, int]]:
    assert isinstance(answer, Refused)
    return [(full.subject, full.measure, full.wait_us) for full in answer.limits]


def used(holds: Holds, limits: Limits, measure: str, now_us: int = NOON) -> int:
    [found] = holds.use(now_us, demand_of(ACME, limits, now_us=now_us))
    return {one.measure: one.used for one in found}[measure]


def test_input_and_output_have_limits_of_their_own() -> None:
    limits = replace(
        WIDE, input_tokens_per_minute=60, input_token_burst=50, output_tokens_per_minute=60, output_token_burst=20
    )
    holds, demand = Holds(Terms()), demand_of(ACME, limits, now_us=NOON)
    assert isinstance(reserve(holds, demand, "a", read=40, most=15), Held)
    assert refusing(reserve(holds, demand, "b", read=11, most=5)) == [(0, "input_tokens_per_minute", SECOND)]
    assert refusing(reserve(holds, demand, "b", read=5, most=6)) == [(0, "output_tokens_per_minute", SECOND)]


def test_a_days_budget_refuses_until_midnight_and_then_begins_anew() -> None:
    limits = replace(WIDE, tokens_per_day=100)
    holds = Holds(Terms())
    assert isinstance(reserve(holds, demand_of(ACME, limits, now_us=NOON), "a", read=60), Held)
    answer = reserve(holds, demand_of(ACME, limits, now_us=NOON), "b", read=41)
    assert refusing(answer) == [(0, "tokens_per_day", DAY_US // 2)]
    midnight = NOON + DAY_US // 2
    assert isinstance(reserve(holds, demand_of(ACME, limits, now_us=midnight), "b", midnight, read=41), Held)


def test_a_cost_budget_holds_the_estimated_cost_and_keeps_the_true_one() -> None:
    limits = replace(WIDE, cost_micros_per_month=1_000)
    holds, demand = Holds(Terms()), demand_of(ACME, limits, now_us=NOON)
    assert isinstance(reserve(holds, demand, "a", read=300, most=500, price=10**6), Held)
    assert used(holds, limits, "cost_micros_per_month") == 800
    assert refusing(reserve(holds, demand, "b", read=201, price=10**6))[0][1] == "cost_micros_per_month"
    assert commit(holds, "a", read=300, written=10, cost=310)
    assert used(holds, limits, "cost_micros_per_month") == 310


def test_a_settlement_after_midnight_refunds_nothing_and_counts_what_exceeds_the_hold_today() -> None:
    limits = replace(WIDE, tokens_per_day=100)
    holds, midnight = Holds(Terms(hold_us=10**12)), NOON + DAY_US // 2
    for name in "ab":
        reserve(holds, demand_of(ACME, limits, now_us=NOON), name, read=40)
    reserve(holds, demand_of(ACME, limits, now_us=midnight), "c", midnight, read=5)
    commit(holds, "a", midnight, read=0)
    assert used(holds, limits, "tokens_per_day", midnight) == 5
    commit(holds, "b", midnight, read=70)
    assert used(holds, limits, "tokens_per_day", midnight) == 35


def test_what_is_settled_above_a_lapsed_hold_is_owed_by_all_it_was_counted_in() -> None:
    org = Subject(
        keys.counters_field(Tenant("acme-org", "")), "organisation:acme-org", replace(WIDE, tokens_per_day=100), False
    )
    holds = Holds(Terms())
    demand = demand_of(ACME, WIDE, org, now_us=NOON)
    reserve(holds, demand, "a", read=30)
    later = NOON + holds.terms.hold_us
    holds.sweep(later, 10)
    assert holds.use(later, demand)[1][1].used == 0
    assert commit(holds, "a", later, read=50)
    assert holds.use(later, demand)[1][1].used == 50


def test_all_or_none_of_several_subjects_is_taken() -> None:
    user = subject_of(ACME, Limits(tokens_per_minute=60, token_burst=20), "ann")
    holds, demand = Holds(Terms()), demand_of(ACME, WIDE, user, now_us=NOON)
    assert isinstance(reserve(holds, demand, "a", read=15), Held)
    assert refusing(reserve(holds, demand, "b", read=15)) == [(1, "tokens_per_minute", 10 * SECOND)]
    assert used(holds, WIDE, "tokens_per_minute") == 15
    holds.release(NOON, "res_a")
    assert used(holds, WIDE, "tokens_per_minute") == 0
    assert isinstance(reserve(holds, demand, "b", read=20), Held)


def test_a_limit_below_what_is_in_use_refuses_until_that_is_free() -> None:
    holds = Holds(Terms())
    reserve(holds, demand_of(ACME, replace(WIDE, tokens_per_day=100), now_us=NOON), "a", read=80)
    lowered = replace(WIDE, tokens_per_day=50, concurrent_requests=1)
    answer = reserve(holds, demand_of(ACME, lowered, now_us=NOON), "b", read=1)
    assert isinstance(answer, Refused)
    assert answer.limits == (
        Full(0, "tokens_per_day", 80, DAY_US // 2),
        Full(0, "concurrent_requests", 1, 0),
    )


def test_a_limit_that_ends_is_not_counted_any_more_and_gives_nothing_back_when_it_begins_anew() -> None:
    limits = replace(WIDE, tokens_per_day=100, input_tokens_per_minute=60, input_token_burst=100)
    holds = Holds(Terms())
    reserve(holds, demand_of(ACME, limits, now_us=NOON), "a", read=50)
    reserve(holds, demand_of(ACME, WIDE, now_us=NOON), "b", read=10)
    reserve(holds, demand_of(ACME, limits, now_us=NOON), "c", read=20)
    holds.release(NOON, "res_a")
    holds.release(NOON, "res_b")
    assert used(holds, limits, "tokens_per_day") == used(holds, limits, "input_tokens_per_minute") == 20


def test_an_answer_that_grows_past_its_hold_is_charged_for_more_and_settled_to_the_token() -> None:
    limits = replace(WIDE, output_tokens_per_minute=60, output_token_burst=1_000, tokens_per_day=1_000)
    holds, demand = Holds(Terms()), demand_of(ACME, limits, now_us=NOON)
    for number in range(20):
        reserve(holds, demand, f"s{number}", most=100)
        commit(holds, f"s{number}", written=10)
    before = used(holds, limits, "tokens_per_day")
    held = reserve(holds, demand, "a", most=500)
    assert isinstance(held, Held) and held.output_tokens == 10
    assert holds.renew(NOON, "res_a", 7, demand) == Renewed(NOON + holds.terms.hold_us, 10)
    grown = holds.renew(NOON, "res_a", 8, demand)
    assert isinstance(grown, Renewed) and grown.output_tokens == 72
    again = holds.renew(NOON, "res_a", 400, demand)
    assert isinstance(again, Renewed) and again.output_tokens == 500
    commit(holds, "a", written=430)
    assert used(holds, limits, "tokens_per_day") == before + 440
    assert used(holds, limits, "output_tokens_per_minute") == 20 * 10 + 430


def test_an_answer_may_not_outgrow_what_its_limits_admit() -> None:
    limits = replace(WIDE, tokens_per_day=300)
    holds, demand = Holds(Terms()), demand_of(ACME, limits, now_us=NOON)
    reserve(holds, demand, "a", read=0, most=100)
    reserve(holds, demand, "b", read=0, most=180)
    # It has nearly reached its hold, and goes on; past it there is no more.
    assert holds.renew(NOON, "res_a", 100, demand) == Renewed(NOON + holds.terms.hold_us, 100)
    longer = holds.renew(NOON + 1, "res_a", 121, demand)
    assert refusing(longer) == [(0, "tokens_per_day", DAY_US // 2 - 1)]
    assert used(holds, limits, "tokens_per_day") == 280
    # What was written is settled all the same.
    commit(holds, "a", NOON + 1, read=0, written=125)
    assert used(holds, limits, "tokens_per_day") == 305


def test_an_estimate_holds_what_the_answer_had_grown_to_with_its_cost() -> None:
    holds, demand = Holds(Terms()), demand_of(ACME, WIDE, now_us=NOON)
    reserve(holds, demand, "a", read=100, most=50, price=10**6)
    holds.renew(NOON, "res_a", 90, demand)
    holds.sweep(NOON + holds.terms.hold_us, 10)
    [entry] = holds.outbox
    assert (entry.output_tokens, entry.cost_micros) == (90, 190)


def test_a_warning_is_given_once_at_50_80_and_100_percent_of_a_budget() -> None:
    limits = replace(WIDE, tokens_per_day=100)
    holds, demand = Holds(Terms()), demand_of(ACME, limits, now_us=NOON)
    told = [reserve(holds, demand, str(number), read=10) for number in range(11)]
    percents = [
        [(one.measure, one.percent) for one in answer.warnings] for answer in told if not isinstance(answer, OutboxFull)
    ]
    day = "tokens_per_day"
    assert percents == [*[[]] * 4, [(day, 50)], [], [], [(day, 80)], [], [(day, 100)], []]
    assert {one.measure: one.warned for one in holds.use(NOON, demand)[0]}[day] == 100


def test_a_rate_warns_at_most_once_an_hour_of_each_step_and_a_refusal_is_the_whole() -> None:
    limits = Limits(60, 10)
    holds, demand = Holds(Terms()), demand_of(ACME, limits, now_us=NOON)
    told: list[Warned] = []
    for number in range(30):
        answer = reserve(holds, demand, f"a{number}", NOON + number * SECOND // 2)
        assert not isinstance(answer, OutboxFull)
        told += answer.warnings
    assert [one.percent for one in told] == [50, 80, 100]
    later = NOON + 3_600 * SECOND
    answers = [reserve(holds, demand, f"b{number}", later) for number in range(5)]
    assert isinstance(answers[-1], Held) and [one.percent for one in answers[-1].warnings] == [50]


def test_beyond_a_crowds_size_newcomers_share_one_counter_and_are_never_admitted_more() -> None:
    holds, limits = Holds(Terms(crowd_most=2)), Limits(60, 3)
    admitted = dict.fromkeys("abcdef", 0)
    for number in range(5):
        for user in admitted:
            demand = demand_of(ACME, WIDE, subject_of(ACME, limits, user), now_us=NOON)
            admitted[user] += isinstance(reserve(holds, demand, f"{user}{number}"), Held)
    assert admitted == {"a": 3, "b": 3, "c": 1, "d": 1, "e": 1, "f": 0}
    assert holds.crowds == {"t4:acme": 2} and len(holds.counters) == 4
    # When the first have been away long enough, there is room for others.
    for name in list(holds.holds):
        holds.release(NOON, name)
    later = NOON + 2 * holds.terms.idle_us
    holds.sweep(later, 1_000)
    assert holds.crowds == {}


def test_forgetting_a_tenant_forgets_its_users_and_models_and_no_other_tenant() -> None:
    holds, other = Holds(Terms()), Tenant("acme-org", "acme1")
    user = subject_of(ACME, Limits(60, 5), "ann")
    reserve(holds, demand_of(ACME, WIDE, user, now_us=NOON), "a")
    commit(holds, "a", written=5)
    neighbour = Ask(other, "res_n", "n", "k", "", "gpt", "", 1, 1)
    holds.reserve(NOON, "n", "t5:acme1m3:gpt", neighbour, demand_of(other, WIDE, now_us=NOON))
    holds.forget(NOON, keys.counters_field(ACME))
    assert list(holds.counters) == ["t5:acme1"] and holds.crowds == {} and holds.outputs == {}


def test_the_cost_is_rounded_up_once_over_both_parts() -> None:
    assert cost_micros(1, 1, 1, 1) == 1
    assert cost_micros(10**8, 10**8, 10**9, 10**9) == 2 * 10**11


MEASURES = {
    "requests_per_minute": Limits(60, 4),
    "tokens_per_minute": Limits(tokens_per_minute=600, token_burst=60),
    "input_tokens_per_minute": Limits(input_tokens_per_minute=600, input_token_burst=60),
    "output_tokens_per_minute": Limits(output_tokens_per_minute=600, output_token_burst=60),
}


def _part(amounts: Amounts, measure: str) -> int:
    return dict(zip(MEASURES, (amounts.requests, amounts.tokens, amounts.input, amounts.output), strict=True))[measure]


@dataclass
class Admitted:
    """What was admitted at once: at a reservation, or as an answer grew. It counts with the smaller of held and settled."""

    at_us: int
    amount: int


@dataclass
class History:
    """Holds of one tenant under one limit, and what each admitted."""

    measure: str
    holds: Holds = field(default_factory=lambda: Holds(Terms(hold_us=10**12)))
    now_us: int = NOON
    taken: dict[str, list[Admitted]] = field(default_factory=dict[str, list[Admitted]])

    @property
    def limits(self) -> Limits:
        return MEASURES[self.measure]

    def demand(self) -> Demand:
        return demand_of(ACME, self.limits, now_us=self.now_us)

    def reserve(self, read: int, most: int) -> None:
        name = f"n{len(self.taken)}"
        self.taken[name] = []
        if isinstance(reserve(self.holds, self.demand(), name, self.now_us, read=read, most=most), Held):
            self._note(name)

    def grow(self, which: int, written: int) -> None:
        if name := self._running(which):
            self.holds.renew(self.now_us, f"res_{name}", written, self.demand())
            self._note(name)

    def settle(self, which: int, read: int, written: int) -> None:
        name = self._running(which)
        if not name:
            return
        commit(self.holds, name, self.now_us, read, written)
        left = _part(Amounts(1, read + written, read, written), self.measure)
        for one in self.taken[name]:
            one.amount = min(one.amount, left)
            left -= one.amount

    def _note(self, name: str) -> None:
        """What the hold has now and had not when it was noted last."""
        held = _part(self.holds.holds[f"res_{name}"].amounts, self.measure)
        before = sum(one.amount for one in self.taken[name])
        if held > before:
            self.taken[name].append(Admitted(self.now_us, held - before))

    def _running(self, which: int) -> str:
        running = sorted(self.holds.holds)
        return running[which % len(running)].removeprefix("res_") if running else ""

    def check(self) -> None:
        rate, burst = self.limits.rates[list(MEASURES).index(self.measure)]
        calls = sorted((one for some in self.taken.values() for one in some), key=lambda one: one.at_us)
        for first, start in enumerate(calls):
            counted = 0
            for end in calls[first:]:
                counted += end.amount
                assert counted * 60_000_000 <= burst * 60_000_000 + rate * (end.at_us - start.at_us)


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 20 * SECOND), st.just(0), st.just(0)),
        st.tuples(st.just("reserve"), st.integers(0, 40), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("grow"), st.integers(0, 5), st.integers(0, 60), st.just(0)),
        st.tuples(st.just("settle"), st.integers(0, 5), st.integers(0, 60), st.integers(0, 60)),
    ),
    max_size=50,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(MEASURES)), _steps)
def test_in_any_time_no_more_of_any_measure_is_admitted_than_burst_and_rate_allow(
    measure: str, steps: list[tuple[str, int, int, int]]
) -> None:
    history = History(measure)
    for kind, first, second, third in steps:
        match kind:
            case "wait":
                history.now_us += first
            case "reserve":
                history.reserve(first, second)
            case "grow":
                history.grow(first, second)
            case _:
                history.settle(first, second, third)
    history.check()


@settings(max_examples=200, deadline=None)
@given(_steps, st.integers(1, 300))
def test_in_any_day_no_more_is_admitted_than_the_budget(steps: list[tuple[str, int, int, int]], most: int) -> None:
    limits = replace(WIDE, tokens_per_day=most)
    holds, now_us, day = Holds(Terms(hold_us=10**12)), 0, 10 * SECOND
    admitted: dict[str, tuple[int, int]] = {}
    for number, (kind, first, second, third) in enumerate(steps):
        calendar = demand_of(ACME, limits, now_us=now_us)
        starts = tuple(now_us // day * day + step * day for step in (-1, 0, 1, 2))
        local = replace(calendar.local, days=starts)
        demand = Demand(calendar.subjects, local, local)
        running = sorted(holds.holds)
        if kind == "wait":
            now_us += first
        elif kind == "reserve":
            if isinstance(reserve(holds, demand, f"n{number}", now_us, read=first, most=second), Held):
                admitted[f"n{number}"] = now_us // day, first + second
        elif running and kind == "settle":
            name = running[first % len(running)].removeprefix("res_")
            start, held = admitted[name]
            commit(holds, name, now_us, second, third)
            admitted[name] = start, min(held, second + third)
    for start in {start for start, _ in admitted.values()}:
        assert sum(amount for begun, amount in admitted.values() if begun == start) <= most
