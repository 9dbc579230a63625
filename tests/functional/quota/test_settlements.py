"""SettlementService as insight sees it, and the lifecycle contract."""

import asyncio
from typing import Any

import pytest

from tenantry.api.common.v1.usage_pb2 import OUTCOME_OK, Usage
from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import DeprovisionTenantRequest, ProvisionTenantRequest
from tenantry.api.quota.v1 import settlement_service_pb2 as pb
from tenantry.api.quota.v1.reservation_service_pb2 import CommitReservationRequest
from tenantry.kit.errors import FailedPrecondition, InvalidArgument
from tests.functional.quota.quota_room import Quota


async def read_until(stream: Any, reservation: str) -> pb.StreamSettledUsageResponse:
    """The batch with this reservation: the books are shared with other tests, whose entries come too."""
    async with asyncio.timeout(10):
        while True:
            batch = await stream.read()
            if reservation in [entry.reservation for entry in batch.entries]:
                return batch


async def test_what_is_settled_comes_within_a_moment_with_all_the_ledger_needs(quota: Quota) -> None:
    stream = quota.settlements.StreamSettledUsage()
    await stream.write(pb.StreamSettledUsageRequest())
    receipt = await quota.reserve(quota.acme)
    await quota.commit(receipt, 40)
    batch = await read_until(stream, receipt.reservation)
    [entry] = [entry for entry in batch.entries if entry.reservation == receipt.reservation]
    assert (entry.tenant, entry.organisation) == (quota.acme.tenant, quota.acme.organisation)
    assert (entry.key_id, entry.end_user, entry.estimated) == ("key_1", "ann", False)
    assert (entry.usage.output_tokens, entry.usage.cost_micros, entry.usage.outcome) == (40, 7, OUTCOME_OK)
    assert not entry.usage.HasField("first_token_latency")
    assert entry.settle_time.ToNanoseconds() >= receipt.reserve_time.ToNanoseconds()
    stream.cancel()


async def test_a_providers_words_are_cut_to_what_the_ledger_keeps_and_never_refused(quota: Quota) -> None:
    receipt = await quota.reserve(quota.acme)
    usage = Usage(output_tokens=5, model="gpt", model_revision="r\0" * 300)
    await quota.reservations.CommitReservation(CommitReservationRequest(receipt=receipt, usage=usage))
    stream = quota.settlements.StreamSettledUsage()
    await stream.write(pb.StreamSettledUsageRequest())
    batch = await read_until(stream, receipt.reservation)
    [entry] = [entry for entry in batch.entries if entry.reservation == receipt.reservation]
    assert (entry.usage.output_tokens, entry.usage.model_revision) == (5, "r" * 256)
    stream.cancel()


async def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(quota: Quota) -> None:
    receipt = await quota.reserve(quota.acme)
    await quota.commit(receipt)
    first = quota.settlements.StreamSettledUsage()
    await first.write(pb.StreamSettledUsageRequest())
    await read_until(first, receipt.reservation)
    first.cancel()
    second = quota.settlements.StreamSettledUsage()
    await second.write(pb.StreamSettledUsageRequest())
    batch = await read_until(second, receipt.reservation)
    await second.write(pb.StreamSettledUsageRequest(cursors=[batch.cursor]))
    later = await quota.reserve(quota.acme)
    await quota.commit(later)
    await read_until(second, later.reservation)
    second.cancel()
    third = quota.settlements.StreamSettledUsage()
    await third.write(pb.StreamSettledUsageRequest())
    batch = await read_until(third, later.reservation)
    assert receipt.reservation not in [entry.reservation for entry in batch.entries]
    third.cancel()


async def test_the_stream_ends_when_the_reader_has_no_more_to_say(quota: Quota) -> None:
    stream = quota.settlements.StreamSettledUsage()
    await stream.write(pb.StreamSettledUsageRequest())
    await stream.done_writing()
    async with asyncio.timeout(5):
        async for _ in stream:
            pass


async def test_a_wrong_cursor_ends_the_stream_with_the_field(quota: Quota) -> None:
    stream = quota.settlements.StreamSettledUsage()
    await stream.write(pb.StreamSettledUsageRequest())
    await stream.write(pb.StreamSettledUsageRequest(cursors=[pb.SettlementCursor(bucket=999, position="1-0")]))
    with pytest.raises(InvalidArgument) as refused:
        async with asyncio.timeout(5):
            async for _ in stream:
                pass
    assert refused.value.violations[0][0] == "cursors[0].bucket"


async def test_a_deleted_tenant_is_refused_and_its_usage_stays_for_the_ledger(quota: Quota) -> None:
    acme = quota.acme
    settled, running = await quota.reserve(acme), await quota.reserve(acme)
    await quota.commit(settled)
    request = DeprovisionTenantRequest(tenant=acme.tenant, organisation=acme.organisation)
    did = (await quota.lifecycle.DeprovisionTenant(request)).did
    assert did == "deleted limits and counters, 1 holds ended"
    assert (await quota.lifecycle.DeprovisionTenant(request)).did == "nothing to do"
    with pytest.raises(FailedPrecondition):
        await quota.reserve(acme)
    # A stream that was running is settled all the same.
    assert await quota.commit(running) is True
    stream = quota.settlements.StreamSettledUsage()
    await stream.write(pb.StreamSettledUsageRequest())
    batch = await read_until(stream, running.reservation)
    assert settled.reservation in [entry.reservation for entry in batch.entries]
    stream.cancel()


async def test_provisioning_twice_changes_nothing_and_another_organisation_is_refused(quota: Quota) -> None:
    acme = quota.acme
    again = ProvisionTenantRequest(tenant=acme.tenant, organisation=acme.organisation, tier="pro")
    assert (await quota.lifecycle.ProvisionTenant(again)).did == "nothing to do"
    other = ProvisionTenantRequest(tenant=acme.tenant, organisation="other-org", tier="pro")
    with pytest.raises(FailedPrecondition):
        await quota.lifecycle.ProvisionTenant(other)
