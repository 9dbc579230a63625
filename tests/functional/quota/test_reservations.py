"""ReservationService as the gateway sees it."""

import asyncio

import pytest

from tenantry.api.common.v1.usage_pb2 import Usage
from tenantry.api.quota.v1 import reservation_service_pb2 as pb
from tenantry.kit.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
)
from tests.functional.quota.quota_room import Quota
from tests.harness.room import caller_of


async def test_a_hold_takes_its_ceiling_and_settling_gives_back_the_rest(quota: Quota) -> None:
    before = await quota.usage(quota.acme)
    receipt = await quota.reserve(quota.acme, tokens=100_000)
    held = await quota.usage(quota.acme)
    assert held.requests_running == 1
    assert held.tokens_available <= before.limits.token_burst - 99_000
    assert await quota.commit(receipt, 100) is True
    settled = await quota.usage(quota.acme)
    assert settled.requests_running == 0
    assert settled.tokens_available >= before.limits.token_burst - 100
    assert (receipt.tenant, receipt.organisation) == (quota.acme.tenant, quota.acme.organisation)
    assert (receipt.key_id, receipt.end_user, receipt.held_tokens) == ("key_1", "ann", 100_000)


async def test_the_same_nonce_gets_the_same_receipt_even_once_it_is_settled(quota: Quota) -> None:
    first = await quota.reserve(quota.acme, "the-same-nonce-twice")
    assert await quota.reserve(quota.acme, "the-same-nonce-twice") == first
    await quota.commit(first)
    assert await quota.reserve(quota.acme, "the-same-nonce-twice") == first
    assert (await quota.usage(quota.acme)).requests_running == 0


async def test_settling_twice_is_the_same_as_once(quota: Quota) -> None:
    receipt = await quota.reserve(quota.acme)
    assert await quota.commit(receipt, 40) is True
    assert await quota.commit(receipt, 90) is False
    release = pb.ReleaseReservationRequest(receipt=receipt)
    assert (await quota.reservations.ReleaseReservation(release)).released_now is False


async def test_a_released_hold_cost_nothing_and_can_not_be_settled(quota: Quota) -> None:
    receipt = await quota.reserve(quota.acme, tokens=1_000)
    release = pb.ReleaseReservationRequest(receipt=receipt)
    assert (await quota.reservations.ReleaseReservation(release)).released_now is True
    assert (await quota.reservations.ReleaseReservation(release)).released_now is False
    usage = await quota.usage(quota.acme)
    assert (usage.requests_available, usage.tokens_available) == (usage.limits.request_burst, usage.limits.token_burst)
    assert await quota.commit(receipt) is False


async def test_a_renewal_moves_the_end_and_is_refused_after_the_settlement(quota: Quota) -> None:
    receipt = await quota.reserve(quota.acme)
    renewal = pb.RenewReservationRequest(receipt=receipt)
    first = (await quota.reservations.RenewReservation(renewal)).expire_time
    second = (await quota.reservations.RenewReservation(renewal)).expire_time
    assert second.ToNanoseconds() > first.ToNanoseconds() > receipt.reserve_time.ToNanoseconds() + 50 * 10**9
    await quota.commit(receipt)
    with pytest.raises(NotFound):
        await quota.reservations.RenewReservation(renewal)


async def test_each_limit_is_named_with_the_time_when_it_admits(quota: Quota) -> None:
    await quota.override(
        quota.acme.tenant, requests_per_minute=6, request_burst=2, tokens_per_minute=600, token_burst=500
    )
    await quota.reserve(quota.acme, tokens=400)
    with pytest.raises(ResourceExhausted) as tokens:
        await quota.reserve(quota.acme, tokens=400)
    assert tokens.value.reason == Reason.TOKENS_PER_MINUTE
    [(subject, told)] = tokens.value.violations
    assert subject == f"tenant:{quota.acme.tenant}"
    assert told.startswith("600 tokens a minute, 500 at once; 400 used; again in ")
    assert tokens.value.retry_after_s is not None and 25 < tokens.value.retry_after_s <= 30
    await quota.reserve(quota.acme, tokens=1)
    with pytest.raises(ResourceExhausted) as both:
        await quota.reserve(quota.acme, tokens=400)
    assert both.value.reason == Reason.REQUESTS_PER_MINUTE
    assert len(both.value.violations) == 2
    # All or none: what was refused took nothing.
    assert (await quota.usage(quota.acme)).tokens_available >= 99


async def test_more_than_the_burst_is_refused_without_a_time_to_come_back(quota: Quota) -> None:
    await quota.override(quota.acme.tenant, token_burst=500)
    with pytest.raises(ResourceExhausted) as refused:
        await quota.reserve(quota.acme, tokens=501)
    assert (refused.value.reason, refused.value.retry_after_s) == (Reason.LARGER_THAN_LIMIT, None)


async def test_concurrent_requests_are_limited_until_one_ends(quota: Quota) -> None:
    await quota.override(quota.acme.tenant, concurrent_requests=2)
    receipts = [await quota.reserve(quota.acme) for _ in range(2)]
    with pytest.raises(ResourceExhausted) as refused:
        await quota.reserve(quota.acme)
    assert refused.value.reason == Reason.CONCURRENT_REQUESTS
    assert refused.value.retry_after_s
    await quota.commit(receipts[0])
    await quota.reserve(quota.acme)


async def test_what_is_settled_above_the_hold_is_a_debt(quota: Quota) -> None:
    receipt = await quota.reserve(quota.acme, tokens=10)
    await quota.commit(receipt, 600_000)
    assert (await quota.usage(quota.acme)).tokens_available < 0
    with pytest.raises(ResourceExhausted):
        await quota.reserve(quota.acme, tokens=1)
    # It is the tenant's own.
    await quota.reserve(quota.globex, tokens=1)


async def test_a_tenant_that_was_not_provisioned_is_refused(quota: Quota) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        await quota.reserve(caller_of("initech", "initech-org"))
    assert refused.value.reason == Reason.TENANT_NOT_PROVISIONED


async def test_each_wrong_field_is_named(quota: Quota) -> None:
    request = pb.ReserveQuotaRequest(
        nonce="short", model="m" * 129, end_user="ü" * 65, input_tokens=-1, max_output_tokens=10**8 + 1
    )
    request.input_price_micros, request.output_price_micros = -1, 10**12 + 1
    with quota.room.calling(quota.acme), pytest.raises(InvalidArgument) as refused:
        await quota.reservations.ReserveQuota(request)
    named = [field for field, _ in refused.value.violations]
    prices = ["input_price_micros", "output_price_micros"]
    assert named == ["nonce", "model", "end_user", "input_tokens", "max_output_tokens", *prices]
    receipt = await quota.reserve(quota.acme)
    commit = pb.CommitReservationRequest(receipt=receipt, usage=Usage(input_tokens=-1, cost_micros=-1))
    with pytest.raises(InvalidArgument) as refused:
        await quota.reservations.CommitReservation(commit)
    assert [field for field, _ in refused.value.violations] == ["usage.input_tokens", "usage.cost_micros"]


@pytest.mark.parametrize("field", ["model", "end_user", "request_id"])
async def test_a_text_that_the_ledger_can_not_keep_is_refused_before_it_is_used(quota: Quota, field: str) -> None:
    request = pb.ReserveQuotaRequest(nonce="n" * 16, model="m")
    setattr(request, field, "a\0b")
    with quota.room.calling(quota.acme), pytest.raises(InvalidArgument) as refused:
        await quota.reservations.ReserveQuota(request)
    assert refused.value.violations[0][0] == field


async def test_many_at_once_are_admitted_up_to_the_burst(quota: Quota) -> None:
    await quota.override(quota.acme.tenant, requests_per_minute=1, request_burst=20)
    answers = await asyncio.gather(*(quota.reserve(quota.acme) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(answer, pb.Receipt) for answer in answers) == 20
