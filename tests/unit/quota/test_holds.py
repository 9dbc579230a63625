"""The life of a reservation, by the Python rules that the scripts follow."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry.kit.owner import Tenant
from tenantry.quota.entries import Ask, Held, Limits, OutboxFull, Refused, Use, estimate_of
from tenantry.quota.holds import Holds, Terms

OWNER = Tenant("acme-org", "acme")
FIELD = "t4:acme"
LIMITS = Limits(60, 5, 6_000, 1_000, 3)
TERMS = Terms()
SECOND = 1_000_000


def ask_of(name: str, tokens: int = 100) -> Ask:
    return Ask(OWNER, f"res_{name}", name, "key_1", "ann", "gpt", "req_1", tokens, 0)


def reserve(holds: Holds, now_us: int, name: str, tokens: int = 100) -> Held | Refused | OutboxFull:
    return holds.reserve(now_us, FIELD, name, ask_of(name, tokens), LIMITS)


def test_a_request_that_any_limit_refuses_takes_nothing_of_the_others() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a", 900)
    assert reserve(holds, 0, "b", 200) == Refused(0, SECOND, False)
    assert holds.use(0, FIELD, LIMITS) == Use(4, 100, 1)


def test_every_limit_that_refuses_says_so() -> None:
    holds = Holds(TERMS)
    for name in "abc":
        reserve(holds, 0, name, 300)
    assert reserve(holds, 0, "d", 1_001) == Refused(0, -1, True)
    assert reserve(holds, 0, "d", 200) == Refused(0, SECOND, True)


def test_a_hold_that_was_never_renewed_lapses_and_cost_nothing() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a", 1_000)
    holds.sweep(TERMS.hold_us - 1, 10)
    assert holds.use(1, FIELD, LIMITS).requests_running == 1
    holds.sweep(TERMS.hold_us, 10)
    assert holds.use(TERMS.hold_us, FIELD, LIMITS) == Use(5, 1_000, 0)
    assert holds.outbox == []


def test_a_hold_whose_owner_died_is_estimated_at_its_last_renewal() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a", 1_000)
    assert holds.renew(20 * SECOND, "res_a") == 80 * SECOND
    assert holds.renew(40 * SECOND, "res_a") == 100 * SECOND
    holds.sweep(100 * SECOND, 10)
    [entry] = holds.outbox
    assert (entry.entry, entry.at_us, entry.reserved_us) == (ask_of("a", 1_000), 40 * SECOND, 0)
    settled = estimate_of(ask_of("a", 1_000), entry.at_us, entry.reserved_us)
    assert (settled.estimated, settled.usage.input_tokens, settled.usage.latency_ns) == (True, 1_000, 40 * 10**9)
    assert holds.renew(101 * SECOND, "res_a") == 0


def test_the_true_settlement_of_an_estimate_is_recorded_once_and_owes_only_what_exceeds_it() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a", 500)
    holds.renew(1, "res_a")
    end = 1 + TERMS.hold_us
    holds.sweep(end, 10)
    before = holds.use(end, FIELD, LIMITS)
    assert holds.commit(end, FIELD, "res_a", 500, 700, "entry") is True
    assert holds.use(end, FIELD, LIMITS).tokens_available == before.tokens_available - 200
    assert holds.commit(end, FIELD, "res_a", 500, 700, "entry") is False
    assert [appended.entry for appended in holds.outbox] == [ask_of("a", 500), "entry"]


def test_what_is_settled_after_the_hold_lapsed_is_owed_with_its_request() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a", 500)
    end = TERMS.hold_us
    holds.sweep(end, 10)
    assert holds.commit(end, FIELD, "res_a", 500, 300, "entry") is True
    assert holds.use(end, FIELD, LIMITS) == Use(4, 700, 0)


def test_a_released_hold_can_not_be_settled() -> None:
    holds = Holds(TERMS)
    reserve(holds, 0, "a")
    assert holds.release(1, "res_a") is True
    assert holds.commit(2, FIELD, "res_a", 100, 50, "entry") is False
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
    assert holds.commit(1, FIELD, "res_a", 100, 1, "a") and holds.commit(1, FIELD, "res_b", 100, 1, "b")
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
                holds.renew(now_us, f"res_{name}")
            case "commit":
                holds.commit(now_us, FIELD, f"res_{name}", 100, which * 40, "entry")
            case _:
                holds.release(now_us, f"res_{name}")
        assert holds.use(now_us, FIELD, LIMITS).requests_running == len(holds.holds) <= LIMITS.concurrent_requests
    while holds.ends:
        now_us += TERMS.idle_us
        holds.sweep(now_us, 100)
    assert not (holds.holds or holds.nonces or holds.counters)
