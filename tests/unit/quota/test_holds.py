"""The life of a reservation, by the Python rules that the scripts follow."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry.kit.owner import Tenant
from tenantry.quota.entries import Amounts, Ask, Full, Held, Limits, OutboxFull, Refused, Renewed, estimate_of
from tenantry.quota.holds import Holds, Terms
from tests.harness.demands import demand_of

OWNER = Tenant("acme-org", "acme")
OUTPUTS = "t4:acmem3:gpt"
LIMITS = Limits(60, 5, 6_000, 1_000, 3)
TERMS = Terms()
SECOND = 1_000_000


def ask_of(name: str, tokens: int = 100) -> Ask:
    return Ask(OWNER, f"res_{name}", name, "key_1", "ann", "gpt", "req_1", tokens, 0)


def free(holds: Holds, now_us: int) -> tuple[int, int, int]:
    """Requests and tokens that are free, and how many requests run."""
    [used] = holds.use(now_us, demand_of(OWNER, LIMITS))
    requests, tokens, running = (one.used for one in used)
    return LIMITS.request_burst - requests, LIMITS.token_burst - tokens, running


def renewed(holds: Holds, now_us: int, reservation: str) -> int:
    answer = holds.renew(now_us, reservation, 0, None)
    return answer.ends_us if isinstance(answer, Renewed) else 0


def tokens(used: int) -> Amounts:
    return Amounts(1, used, used)


def reserve(holds: Holds, now_us: int, name: str, tokens: int = 100) -> Held | Refused | OutboxFull:
    return holds.reserve(now_us, name, OUTPUTS, ask_of(name, tokens), demand_of(OWNER, LIMITS))


def refusing(answer: Held | Refused | OutboxFull) -> tuple[Full, ...]:
    assert isinstance(answer, Refused)
    return answer.limits


def test_a_request_that_any_limit_refuses_takes_nothing_of_the_others() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a", 900)
    assert refusing(reserve(holds, 0, "b", 200)) == (Full(0, "tokens_per_minute", 900, SECOND),)
    assert free(holds, 0) == (4, 100, 1)


def test_every_limit_that_refuses_says_so() -> None:
    holds = Holds(TERMS)
    for name in "abc":
        reserve(holds, 0, name, 300)
    crowded = Full(0, "concurrent_requests", 3, 0)
    assert refusing(reserve(holds, 0, "d", 1_001)) == (Full(0, "tokens_per_minute", 900, -1), crowded)
    assert refusing(reserve(holds, 0, "d", 200)) == (Full(0, "tokens_per_minute", 900, SECOND), crowded)


def test_a_hold_that_was_never_renewed_lapses_and_cost_nothing() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a", 1_000)
    holds.sweep(TERMS.hold_us - 1, 10)
    assert free(holds, 1)[2] == 1
    holds.sweep(TERMS.hold_us, 10)
    assert free(holds, TERMS.hold_us) == (5, 1_000, 0)
    assert holds.outbox == []


def test_a_hold_whose_owner_died_is_estimated_at_its_last_renewal() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a", 1_000)
    assert renewed(holds, 20 * SECOND, "res_a") == 80 * SECOND
    assert renewed(holds, 40 * SECOND, "res_a") == 100 * SECOND
    holds.sweep(100 * SECOND, 10)
    [entry] = holds.outbox
    assert (entry.entry, entry.at_us, entry.reserved_us) == (ask_of("a", 1_000), 40 * SECOND, 0)
    settled = estimate_of(ask_of("a", 1_000), entry.at_us, entry.reserved_us, 0, 0)
    assert (settled.estimated, settled.usage.input_tokens, settled.usage.latency_ns) == (True, 1_000, 40 * 10**9)
    assert renewed(holds, 101 * SECOND, "res_a") == 0


def test_the_true_settlement_of_an_estimate_is_recorded_once_and_owes_only_what_exceeds_it() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a", 500)
    renewed(holds, 1, "res_a")
    end = 1 + TERMS.hold_us
    holds.sweep(end, 10)
    before = free(holds, end)
    assert holds.commit(end, "res_a", "", tokens(700), "entry") is True
    assert free(holds, end)[1] == before[1] - 200
    assert holds.commit(end, "res_a", "", tokens(700), "entry") is False
    assert [appended.entry for appended in holds.outbox] == [ask_of("a", 500), "entry"]


def test_what_is_settled_after_the_hold_lapsed_is_owed_with_its_request() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a", 500)
    end = TERMS.hold_us
    holds.sweep(end, 10)
    assert holds.commit(end, "res_a", "", tokens(300), "entry") is True
    assert free(holds, end) == (4, 700, 0)


def test_a_released_hold_can_not_be_settled() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a")
    assert holds.release(1, "res_a") is True
    assert holds.commit(2, "res_a", "", tokens(50), "entry") is False
    assert holds.outbox == []


def test_a_nonce_is_remembered_for_its_time_and_then_is_a_new_request() -> None:
    holds = Holds(TERMS)
    first = reserve(holds, 0, "a")
    assert reserve(holds, TERMS.hold_us - 1, "a") == first
    later = reserve(holds, TERMS.remember_us, "a")
    assert isinstance(later, Held) and later.reserved_us == TERMS.remember_us


def test_a_full_outbox_refuses_holds_and_not_settlements() -> None:
    holds = Holds(Terms(outbox_most=1))
    reserve(holds, 0, "a")
    reserve(holds, 0, "b")
    assert holds.commit(1, "res_a", "", tokens(1), "a") and holds.commit(1, "res_b", "", tokens(1), "b")
    assert reserve(holds, 2, "c") == OutboxFull()


_steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "renew", "commit", "release"]), st.integers(0, 6), st.integers(0, 90 * SECOND)
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(_steps)
def test_running_holds_are_counted_and_in_the_end_nothing_is_left(steps: list[tuple[str, int, int]]) -> None:
    holds, now_us = Holds(TERMS), 0
    for kind, which, pause_us in steps:
        now_us += pause_us
        name = f"n{which}"
        match kind:
            case "reserve":
                reserve(holds, now_us, name)
            case "renew":
                renewed(holds, now_us, f"res_{name}")
            case "commit":
                holds.commit(now_us, f"res_{name}", "", tokens(which * 40), "entry")
            case _:
                holds.release(now_us, f"res_{name}")
        assert free(holds, now_us)[2] == len(holds.holds) <= LIMITS.concurrent_requests
    while holds.ends:
        now_us += TERMS.idle_us
        holds.sweep(now_us, 100)
    assert not (holds.holds or holds.nonces or holds.counters)
