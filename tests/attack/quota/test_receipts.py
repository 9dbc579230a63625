"""Attacks on holds: with receipts of one's own making, of another tenant, or used twice; by outsiders; by tricks in
ids."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.api.common.v1.usage_pb2 import Usage
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1 import reservation_service_pb2 as pb
from tenantry.api.quota.v1.reservation_service_pb2_grpc import ReservationServiceStub
from tenantry.api.quota.v1.settlement_service_pb2 import StreamSettledUsageRequest
from tenantry.api.quota.v1.settlement_service_pb2_grpc import SettlementServiceStub
from tenantry.kit.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Reason, Unauthenticated
from tests.functional.quota.quota_room import Quota, serve
from tests.harness.room import caller_of

FIELDS = {
    "reservation": "res_00000000000000000000000000",
    "organisation": "another-org",
    "tenant": "another",
    "key_id": "another",
    "end_user": "another",
    "model": "another",
    "held_tokens": 1_000_000,
    "mac": b"\0" * 32,
}


@pytest.fixture
async def quota(valkey_books: str, tmp_path: Path) -> AsyncIterator[Quota]:
    async for running in serve(valkey_books, tmp_path, "network"):
        yield running


async def try_all(quota: Quota, receipt: pb.Receipt) -> None:
    """Every use of a receipt is refused."""
    stub = quota.reservations
    commit = pb.CommitReservationRequest(receipt=receipt, usage=Usage(output_tokens=1))
    for call in (
        stub.RenewReservation(pb.RenewReservationRequest(receipt=receipt)),
        stub.CommitReservation(commit),
        stub.ReleaseReservation(pb.ReleaseReservationRequest(receipt=receipt)),
    ):
        with pytest.raises(PermissionDenied) as refused:
            await call
        assert refused.value.reason == Reason.RECEIPT_INVALID


@pytest.mark.parametrize("field", FIELDS)
async def test_a_receipt_with_one_field_forged(quota: Quota, field: str) -> None:
    receipt = await quota.reserve(quota.acme)
    setattr(receipt, field, FIELDS[field])
    await try_all(quota, receipt)
    assert (await quota.usage(quota.acme)).requests_running == 1


async def test_a_receipt_whose_time_is_moved_by_a_nanosecond_or_out_of_range(quota: Quota) -> None:
    receipt = await quota.reserve(quota.acme)
    original = receipt.reserve_time.nanos
    for nanos in (original + 1, original - 1, original + 1_000, -1, 2_000_000_000):
        receipt.reserve_time.nanos = nanos
        await try_all(quota, receipt)


async def test_an_empty_receipt(quota: Quota) -> None:
    await try_all(quota, pb.Receipt())


async def test_the_receipt_of_another_tenant_shown_by_ones_own_caller(quota: Quota) -> None:
    receipt = await quota.reserve(quota.acme)
    with quota.room.calling(quota.globex):
        await try_all(quota, receipt)


async def test_a_receipt_used_twice_is_settled_once(quota: Quota) -> None:
    receipt = await quota.reserve(quota.acme, tokens=1_000)
    assert await quota.commit(receipt, 10) is True
    before = await quota.usage(quota.acme)
    assert await quota.commit(receipt, 0) is False
    release = pb.ReleaseReservationRequest(receipt=receipt)
    assert (await quota.reservations.ReleaseReservation(release)).released_now is False
    after = await quota.usage(quota.acme)
    assert after.requests_available <= before.requests_available + 1
    assert after.requests_running == 0


async def test_another_tenants_nonce_does_not_give_its_receipt(quota: Quota) -> None:
    theirs = await quota.reserve(quota.acme, "a-nonce-that-was-seen")
    mine = await quota.reserve(quota.globex, "a-nonce-that-was-seen")
    assert mine.reservation != theirs.reservation
    assert mine.tenant == quota.globex.tenant


async def test_delimiters_in_a_nonce_reach_no_other_field(quota: Quota) -> None:
    theirs = await quota.reserve(quota.acme, "n" * 16)
    acme = quota.acme.tenant
    for nonce in (
        f"t{len(acme)}:{acme}16:" + "n" * 16,
        "{quota-001}:holds:1:m",
        "n" * 16 + ":" + "n" * 16,
        "\\x00" * 5,
    ):
        mine = await quota.reserve(quota.globex, nonce[:64])
        assert (mine.tenant, mine.reservation) != (theirs.tenant, theirs.reservation)
    for nonce in ("n" * 15, "n" * 65, "n" * 15 + "\n", "n" * 15 + "\0", "n" * 15 + "é"):
        with pytest.raises(InvalidArgument):
            await quota.reserve(quota.globex, nonce)


async def test_delimiters_in_a_receipts_fields_move_nothing_from_one_to_the_next(quota: Quota) -> None:
    request = pb.ReserveQuotaRequest(nonce="delimiter-nonce-0001", model="m4:evil", end_user="ann:1:m")
    with quota.room.calling(quota.acme):
        receipt = (await quota.reservations.ReserveQuota(request)).receipt
    for end_user, model in (("ann", "1:mm4:evil"), ("ann:1:mm4:evil", ""), ("ann:1:m7:m4:evil", "")):
        moved = pb.Receipt()
        moved.CopyFrom(receipt)
        moved.end_user, moved.model = end_user, model
        await try_all(quota, moved)


@pytest.mark.parametrize("tenant", ["acme:", "ACME", "acme\n", "../acme", "a" * 64, "acme{1}", "é", "-acme", "acme-"])
async def test_a_tenants_id_of_the_wrong_form_is_refused_and_never_corrected(quota: Quota, tenant: str) -> None:
    operator = caller_of("", "", scopes={"limits.read"})
    with quota.room.calling(operator), pytest.raises(InvalidArgument):
        await quota.limits.GetQuotaUsage(limit_pb.GetQuotaUsageRequest(tenant=tenant))


@pytest.mark.parametrize("service", [None, "insight", "tenancy", "cache"])
async def test_holds_by_somebody_who_is_not_the_gateway(quota: Quota, service: str | None) -> None:
    stub = ReservationServiceStub(quota.room.channel(service=service))
    receipt = await quota.reserve(quota.acme)
    everything = caller_of(
        quota.acme.tenant, quota.acme.organisation, scopes={"limits.read", "limits.write", "generate"}
    )
    with quota.room.calling(everything):
        for call in (
            stub.ReserveQuota(pb.ReserveQuotaRequest(nonce="n" * 16, model="m")),
            stub.RenewReservation(pb.RenewReservationRequest(receipt=receipt)),
            stub.CommitReservation(pb.CommitReservationRequest(receipt=receipt)),
            stub.ReleaseReservation(pb.ReleaseReservationRequest(receipt=receipt)),
        ):
            with pytest.raises((Unauthenticated, PermissionDenied)):
                await call
    assert (await quota.usage(quota.acme)).requests_running == 1


@pytest.mark.parametrize("service", [None, "gateway"])
async def test_the_ledgers_stream_read_by_somebody_who_is_not_insight(quota: Quota, service: str | None) -> None:
    stream = SettlementServiceStub(quota.room.channel(service=service)).StreamSettledUsage()
    with pytest.raises((Unauthenticated, PermissionDenied)):
        await stream.write(StreamSettledUsageRequest())
        await stream.read()


async def test_a_hold_by_an_administrator_who_has_no_tenant(quota: Quota) -> None:
    with pytest.raises(PermissionDenied):
        await quota.reserve(caller_of("", quota.acme.organisation))


async def test_a_caller_whose_organisation_is_not_its_tenants(quota: Quota) -> None:
    with pytest.raises(FailedPrecondition):
        await quota.reserve(caller_of(quota.acme.tenant, quota.globex.organisation))


async def test_the_usage_and_limits_of_another_tenant(quota: Quota) -> None:
    reader = caller_of(quota.acme.tenant, quota.acme.organisation, scopes={"limits.read", "limits.write"})
    name = quota.globex.tenant
    with quota.room.calling(reader):
        for call in (
            quota.limits.GetQuotaUsage(limit_pb.GetQuotaUsageRequest(tenant=name)),
            quota.limits.GetQuotaLimits(limit_pb.GetQuotaLimitsRequest(tenant=name)),
            quota.limits.UpdateQuotaLimits(limit_pb.UpdateQuotaLimitsRequest(tenant=name)),
        ):
            with pytest.raises(NotFound):
                await call
