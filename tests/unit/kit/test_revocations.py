"""What a process knows of revocations, and whom it serves on that word."""

import asyncio
from dataclasses import replace

import pytest

from tenantry.kit.errors import Reason, ResourceExhausted, TenantryError, Unavailable
from tenantry.kit.revocations import KEEP_S, MAX_AGE_S, Revocation, Revocations
from tests.harness.clock import FrozenClock
from tests.harness.poll import until
from tests.harness.room import caller_of

CALLER = replace(caller_of("acme", key_id="key_1"), key_generation=2, tenant_generation=5)


@pytest.fixture
def known(clock: FrozenClock) -> Revocations:
    revocations = Revocations(clock)
    revocations.confirm(clock.monotonic())
    return revocations


def reason(refusal: TenantryError | None) -> Reason | None:
    return refusal.reason if refusal else None


def test_nobody_is_served_before_the_first_word(clock: FrozenClock) -> None:
    revocations = Revocations(clock)
    refused = revocations.refusal(CALLER)
    assert isinstance(refused, Unavailable) and refused.retry_after_s
    revocations.confirm(clock.monotonic())
    assert revocations.refusal(CALLER) is None


@pytest.mark.parametrize(("generation", "expected"), [(2, None), (3, Reason.CREDENTIAL_INVALID)])
def test_a_key_is_refused_below_its_generation(known: Revocations, generation: int, expected: Reason | None) -> None:
    known.enter([Revocation("api-key", "key_1", generation), Revocation("api-key", "key_2", 99)])
    assert reason(known.refusal(CALLER)) is expected
    assert known.refusal(replace(CALLER, key_id="key_3")) is None


@pytest.mark.parametrize(("generation", "expected"), [(5, None), (6, Reason.TENANT_NOT_ACTIVE)])
def test_a_tenant_is_refused_below_its_generation_with_its_state(
    known: Revocations, generation: int, expected: Reason | None
) -> None:
    known.enter([Revocation("tenant", "acme", generation, "SUSPENDED"), Revocation("tenant", "key_1", 99)])
    refused = known.refusal(CALLER)
    assert reason(refused) is expected
    assert refused is None or refused.metadata == {"state": "SUSPENDED"}


def test_a_key_and_a_tenant_of_one_name_are_not_confused(known: Revocations) -> None:
    known.enter([Revocation("api-key", "acme", 99), Revocation("tenant", "key_1", 99)])
    assert known.refusal(CALLER) is None


def test_what_was_refused_stays_so_in_whatever_order_it_is_told(known: Revocations) -> None:
    known.enter([Revocation("tenant", "acme", 7, "DELETING")])
    known.enter([Revocation("tenant", "acme", 6, "SUSPENDED")])
    refused = known.refusal(replace(CALLER, tenant_generation=6))
    assert refused is not None and refused.metadata == {"state": "DELETING"}


def test_word_is_as_old_as_the_ping_that_it_answers(known: Revocations, clock: FrozenClock) -> None:
    sent_at = clock.monotonic()
    clock.advance(3.0)
    known.confirm(sent_at)
    clock.advance(MAX_AGE_S - 3.0)
    assert known.refusal(CALLER) is None
    clock.advance(0.001)
    assert reason(known.refusal(CALLER)) is Reason.SERVICE_UNAVAILABLE


def test_an_answer_that_comes_late_or_from_the_future_makes_word_no_younger(
    known: Revocations, clock: FrozenClock
) -> None:
    known.confirm(clock.monotonic() - 3.0)
    known.confirm(clock.monotonic() + 100.0)
    clock.advance(MAX_AGE_S + 0.001)
    assert isinstance(known.refusal(CALLER), Unavailable)


def test_it_is_forgotten_when_no_assertion_is_left(known: Revocations, clock: FrozenClock) -> None:
    known.enter([Revocation("api-key", "key_1", 3)])
    clock.advance(KEEP_S / 2)
    known.enter([Revocation("api-key", "key_2", 3), Revocation("tenant", "acme", 6, "SUSPENDED")])
    clock.advance(KEEP_S / 2 + 1)
    known.enter([])
    assert known.remembered == 2
    clock.advance(KEEP_S)
    known.enter([])
    assert known.remembered == 0


def test_what_does_not_fit_is_not_confirmed_and_nothing_is_forgotten_for_it(clock: FrozenClock) -> None:
    known = Revocations(clock, most=2)
    known.confirm(clock.monotonic())
    known.enter([Revocation("api-key", "key_1", 3), Revocation("api-key", "key_2", 3)])
    with pytest.raises(ResourceExhausted):
        known.enter([Revocation("api-key", "key_2", 4), Revocation("api-key", "key_3", 3)])
    assert reason(known.refusal(CALLER)) is Reason.CREDENTIAL_INVALID and known.remembered == 2


async def test_who_watches_is_told_of_each_entry_and_of_old_age(known: Revocations, clock: FrozenClock) -> None:
    told: list[bool] = []
    known.watch(lambda: told.append(known.refusal(CALLER) is None))
    known.enter([Revocation("api-key", "key_1", 1)])
    assert told == [True]
    aging = asyncio.create_task(known.watch_age())
    await until(lambda: clock.sleepers == 1)
    clock.advance(MAX_AGE_S)
    assert told == [True]
    clock.advance(0.002)
    await until(lambda: told[1:2] == [False])
    aging.cancel()
