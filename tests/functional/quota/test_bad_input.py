"""Amounts, weights and names that nothing has, and limits below what is in use: refused by name, or taken as contracts say."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tenantry.api.common.v1.usage_pb2 import Usage
from tenantry.api.quota.v1 import limit_service_pb2 as pb
from tenantry.api.quota.v1 import reservation_service_pb2 as reservation_pb
from tenantry.kit.errors import InvalidArgument
from tenantry.quota.limit_rules import NAMES
from tests.functional.quota.queue_room import Replicas, replicas
from tests.functional.quota.quota_room import Quota
from tests.harness.room import caller_of

OPERATOR = caller_of("", "", scopes={"limits.read", "limits.write"})
LARGEST = 2**63 - 1
COUNTS = ["input_tokens", "output_tokens", "cost_micros", "cached_input_tokens"]


async def named_by(quota: Quota, call: Any, request: Any) -> list[str]:
    """The fields that the refusal names."""
    with pytest.raises(InvalidArgument) as refused:
        await call(request)
    return [field for field, _ in refused.value.violations]


@pytest.mark.parametrize("amount", [-1, LARGEST])
@pytest.mark.parametrize("limit", NAMES)
async def test_a_limit_below_zero_or_beyond_all_numbers_is_refused_by_its_name(
    quota: Quota, limit: str, amount: int
) -> None:
    tenant, limits = quota.acme.tenant, pb.QuotaLimits()
    setattr(limits, limit, amount)
    with quota.room.calling(OPERATOR):
        update = pb.UpdateQuotaLimitsRequest(tenant=tenant, overrides=limits)
        assert await named_by(quota, quota.limits.UpdateQuotaLimits, update) == [f"overrides.{limit}"]
        rule = pb.SetLimitRuleRequest(tenant=tenant, rule=pb.LimitRule(model="gpt", limits=limits))
        assert await named_by(quota, quota.limits.SetLimitRule, rule) == [f"limits.{limit}"]


@pytest.mark.parametrize("weight", [-1, 1_001, 2**31 - 1])
async def test_a_weight_below_zero_or_beyond_all_others_is_refused(quota: Quota, weight: int) -> None:
    request = pb.UpdateQuotaLimitsRequest(tenant=quota.acme.tenant, queue_weight=weight)
    with quota.room.calling(OPERATOR):
        assert await named_by(quota, quota.limits.UpdateQuotaLimits, request) == ["queue_weight"]


@pytest.mark.parametrize("amount", [-1, LARGEST])
@pytest.mark.parametrize("count", COUNTS)
async def test_a_settlement_of_less_than_nothing_or_more_than_there_is_is_refused_and_the_hold_stays(
    quota: Quota, count: str, amount: int
) -> None:
    receipt, usage = await quota.reserve(quota.acme), Usage(model="gpt")
    setattr(usage, count, amount)
    request = reservation_pb.CommitReservationRequest(receipt=receipt, usage=usage)
    assert await named_by(quota, quota.reservations.CommitReservation, request) == [f"usage.{count}"]
    assert (await quota.usage(quota.acme)).requests_running == 1
    assert await quota.commit(receipt) is True


async def test_a_request_for_nothing_is_one_request_and_settles_to_nothing(quota: Quota) -> None:
    before = await quota.usage(quota.acme)
    receipt = await quota.reserve(quota.acme, tokens=0)
    held = await quota.usage(quota.acme)
    assert (held.requests_running, held.tokens_available) == (1, before.tokens_available)
    request = reservation_pb.CommitReservationRequest(receipt=receipt, usage=Usage())
    assert (await quota.reservations.CommitReservation(request)).settled_now is True
    assert (await quota.usage(quota.acme)).requests_running == 0


async def test_ids_that_are_too_long_are_refused_by_their_names(quota: Quota) -> None:
    long = reservation_pb.ReserveQuotaRequest(
        nonce="n" * 65, model="m" * 129, end_user="u" * 129, request_id="r" * 129, input_tokens=1
    )
    with quota.room.calling(quota.acme):
        named = await named_by(quota, quota.reservations.ReserveQuota, long)
        assert named == ["nonce", "model", "end_user", "request_id"]
        usage = pb.GetQuotaUsageRequest(end_user="u" * 129)
        assert await named_by(quota, quota.limits.GetQuotaUsage, usage) == ["end_user"]
    with quota.room.calling(OPERATOR):
        zone = pb.UpdateQuotaLimitsRequest(tenant=quota.acme.tenant, time_zone="Europe/" + "x" * 100_000)
        assert await named_by(quota, quota.limits.UpdateQuotaLimits, zone) == ["time_zone"]


@pytest.fixture
async def queued(valkey_books: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    async with replicas(valkey_books, tmp_path, 1) as running:
        yield running


async def test_a_pool_made_smaller_than_what_runs_cuts_nothing_and_gives_nothing_until_there_is_room(
    queued: Replicas,
) -> None:
    first = await queued.set_pool(capacity=2)
    running = [await queued.acquire(queued.acme) for _ in range(2)]
    for place in running:
        await place.granted()
    await queued.set_pool(capacity=1, version=first.version)
    waiting = await queued.acquire(queued.globex)
    await waiting.waits()
    await queued.until_used(in_use=2, room=1, waiting=1)
    await running[0].end()
    await queued.until_used(in_use=1, room=1, waiting=1)
    await running[1].end()
    await waiting.granted()
    await waiting.end()
