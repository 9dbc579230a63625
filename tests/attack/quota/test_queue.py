"""Attacks on the fair queue: with another's or one's own receipts and leases, by tricks in names and ids, by amounts that no
call has, by callers who must not call, and by silence."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.api.quota.v1.queue_service_pb2_grpc import FairQueueServiceStub
from tenantry.api.quota.v1.reservation_service_pb2 import Receipt
from tenantry.kit.errors import (
    Aborted,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    Unauthenticated,
)
from tenantry.kit.owner import Pool
from tenantry.quota import keys
from tests.functional.quota.queue_room import Place, Replicas, replicas
from tests.harness.room import caller_of

FORGED: dict[str, Any] = {
    "pool": "another",
    "ticket": "slot_00000000000000000000000000",
    "epoch": "another",
    "input_tokens": 1,
    "max_output_tokens": 1,
    "priority": 9,
    "mac": b"\0" * 32,
}


@pytest.fixture
async def quota(valkey_books: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    async with replicas(valkey_books, tmp_path, 1) as running:
        yield running


async def refused(place: Place) -> Reason:
    with pytest.raises(PermissionDenied) as error:
        await place.granted()
    return error.value.reason


async def test_a_place_without_a_receipt_or_with_a_forged_one(quota: Replicas) -> None:
    assert await refused(await quota.acquire(quota.acme, receipt=Receipt())) == Reason.RECEIPT_INVALID
    for field, value in {"tenant": quota.globex.tenant, "reservation": "res_x", "mac": b"x" * 32}.items():
        receipt = await quota.receipt(quota.acme)
        setattr(receipt, field, value)
        assert await refused(await quota.acquire(quota.acme, receipt=receipt)) == Reason.RECEIPT_INVALID


async def test_a_receipt_of_another_tenant_shown_by_ones_own_caller(quota: Replicas) -> None:
    receipt = await quota.receipt(quota.acme)
    with quota.rooms[0].calling(quota.globex):
        assert await refused(await quota.acquire(quota.acme, receipt=receipt)) == Reason.RECEIPT_INVALID


@pytest.mark.parametrize("field", FORGED)
async def test_a_lease_with_one_field_forged(quota: Replicas, field: str) -> None:
    receipt = await quota.receipt(quota.acme)
    place = await quota.acquire(quota.acme, receipt=receipt)
    lease = await place.granted()
    setattr(lease, field, FORGED[field])
    again = await quota.begin(pb.SlotBegin(receipt=receipt, lease=lease))
    assert await refused(again) == Reason.RECEIPT_INVALID
    await place.end()


async def test_a_lease_whose_end_is_moved(quota: Replicas) -> None:
    receipt = await quota.receipt(quota.acme)
    place = await quota.acquire(quota.acme, receipt=receipt)
    lease = await place.granted()
    end = (lease.expire_time.seconds, lease.expire_time.nanos)
    for seconds, nanos in ((end[0] + 3600, end[1]), (end[0], end[1] + 1), (end[0], -1), (2**62, 0)):
        lease.expire_time.seconds, lease.expire_time.nanos = seconds, nanos
        assert await refused(await quota.begin(pb.SlotBegin(receipt=receipt, lease=lease))) == Reason.RECEIPT_INVALID
    await place.end()


async def test_the_lease_of_another_tenant_or_of_another_reservation(quota: Replicas) -> None:
    place = await quota.acquire(quota.acme)
    lease = await place.granted()
    for caller in (quota.globex, quota.acme):
        other = await quota.receipt(caller)
        again = await quota.begin(pb.SlotBegin(receipt=other, lease=lease))
        assert await refused(again) == Reason.RECEIPT_INVALID
    await place.end()


async def test_a_lease_that_was_given_back_is_not_a_place_again(quota: Replicas) -> None:
    await quota.set_pool(capacity=1)
    receipt = await quota.receipt(quota.acme)
    place = await quota.acquire(quota.acme, receipt=receipt)
    lease = await place.granted()
    await place.end()
    await quota.until_used(in_use=0)
    for _ in range(3):
        with pytest.raises(Aborted):
            await (await quota.begin(pb.SlotBegin(receipt=receipt, lease=lease))).granted()
    await quota.until_used(in_use=0)


async def test_a_lease_taken_up_by_many_streams_is_one_place(quota: Replicas) -> None:
    await quota.set_pool(capacity=5)
    receipt = await quota.receipt(quota.acme)
    place = await quota.acquire(quota.acme, receipt=receipt)
    lease = await place.granted()
    again = [await quota.begin(pb.SlotBegin(receipt=receipt, lease=lease)) for _ in range(4)]
    for one in again:
        await one.granted()
    await quota.until_used(in_use=1)
    await place.end()
    await quota.until_used(in_use=0)
    for one in again:
        one.stream.cancel()


@pytest.mark.parametrize("pool", ["", "a\0b", "a\nb", "x" * 401, "\u202e"])
async def test_names_that_no_pool_has(quota: Replicas, pool: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        await (await quota.acquire(quota.acme, pool=pool)).granted()
    assert error.value.violations[0][0] == "begin.pool"


@pytest.mark.parametrize("inside", ["}:x", "{a}", "1:a", "*", "a:1:p1:b", "é…"])
async def test_delimiters_in_a_pools_name_meet_no_other_pool(quota: Replicas, inside: str) -> None:
    pool = f"{quota.pool}{inside}"
    place = await quota.acquire(quota.acme, pool=pool)
    assert (await place.granted()).pool == pool
    await quota.until_used(in_use=0)
    await place.end()


def test_no_two_pools_have_a_key_in_common() -> None:
    names = ["a", "a:", ":a", "1:a", "a}", "{a}", "a}:state:1:p1:a", "p", "p1:a", "1:p1:a", "a ", "A"]
    assert len({key for name in names for key in keys.queue_keys(Pool(name))}) == 10 * len(names)


AMOUNTS = [-1, -(2**63), 10**8 + 1, 2**63 - 1]


@pytest.mark.parametrize("field", ["input_tokens", "max_output_tokens"])
@pytest.mark.parametrize("amount", AMOUNTS)
async def test_amounts_that_no_call_has(quota: Replicas, field: str, amount: Any) -> None:
    with pytest.raises(InvalidArgument) as error:
        await (await quota.acquire(quota.acme, **{field: amount})).granted()
    assert error.value.violations[0][0] == f"begin.{field}"


@pytest.mark.parametrize("amount", AMOUNTS)
async def test_output_that_no_call_has_ends_the_stream_and_is_not_charged(quota: Replicas, amount: int) -> None:
    for message in (
        pb.AcquireSlotRequest(progress=pb.SlotProgress(output_tokens=amount)),
        pb.AcquireSlotRequest(end=pb.SlotEnd(output_tokens=amount)),
    ):
        place = await quota.acquire(quota.acme)
        await place.granted()
        await place.stream.write(message)
        with pytest.raises(InvalidArgument):
            await place.granted()
    await quota.until_used(in_use=0)


@pytest.mark.parametrize("duration", [Duration(seconds=-1), Duration(nanos=-1), Duration(nanos=10**9)])
async def test_durations_that_are_none(quota: Replicas, duration: Duration) -> None:
    with pytest.raises(InvalidArgument):
        await (await quota.acquire(quota.acme, begin_within=duration)).granted()
    place = await quota.acquire(quota.acme)
    await place.granted()
    await place.stream.write(pb.AcquireSlotRequest(end=pb.SlotEnd(retry_after=duration)))
    with pytest.raises(InvalidArgument):
        await place.granted()


@pytest.mark.parametrize("seconds", [365 * 86_400, 2**63 - 1])
async def test_a_provider_that_asks_for_a_year_of_patience_holds_its_pool_for_a_minute(
    quota: Replicas, seconds: int
) -> None:
    await quota.set_pool(capacity=4, adaptive=True)
    place = await quota.acquire(quota.acme)
    await place.granted()
    end = pb.SlotEnd(outcome=pb.SLOT_OUTCOME_THROTTLED, retry_after=Duration(seconds=seconds))
    await place.stream.write(pb.AcquireSlotRequest(end=end))
    await quota.until_used(in_use=0)
    waiting = await quota.acquire(quota.acme)
    assert (await waiting.waits()).expected_wait.ToSeconds() <= 60
    waiting.stream.cancel()


async def test_a_wait_for_ever_is_one_until_the_deadline_and_one_of_nothing_leaves_nothing(quota: Replicas) -> None:
    await quota.set_pool(capacity=1)
    for_ever = await quota.acquire(quota.acme, begin_within=Duration(seconds=2**63 - 1, nanos=999_999_999))
    await for_ever.granted()
    for caller in (quota.acme, quota.globex):
        with pytest.raises(ResourceExhausted) as refused:
            await (await quota.acquire(caller, begin_within=Duration())).granted()
        assert refused.value.reason is Reason.QUEUE_LATE and refused.value.retry_after_s
    await quota.until_used(in_use=1, waiting=0)
    await for_ever.end()
    await quota.until_used(in_use=0)


async def test_a_second_begin_in_one_stream(quota: Replicas) -> None:
    place = await quota.acquire(quota.acme)
    await place.granted()
    await place.stream.write(pb.AcquireSlotRequest(begin=pb.SlotBegin(pool=quota.pool)))
    with pytest.raises(InvalidArgument):
        await place.granted()


async def test_many_messages_of_a_client_that_never_reads_leave_one_state(quota: Replicas) -> None:
    place = await quota.acquire(quota.acme)
    for number in range(2_000):
        await place.progress(number)
    await place.granted()
    await place.end(output=2_000)
    await quota.until_used(in_use=0)


async def test_callers_who_must_not_call(quota: Replicas) -> None:
    room = quota.rooms[0]
    for service in (None, "gateway", "insight", "cache"):
        stub = FairQueueServiceStub(room.channel("quota", service=service))
        stream: Any = stub.AcquireSlot()
        with pytest.raises((PermissionDenied, Unauthenticated)):
            await stream.write(pb.AcquireSlotRequest(begin=pb.SlotBegin(pool="p")))
            await stream.read()


async def test_a_tenants_admin_learns_nothing_of_others_from_a_pool(quota: Replicas) -> None:
    await quota.set_pool(capacity=1)
    place = await quota.acquire(quota.globex)
    await place.granted()
    seen = await quota.watch(quota.acme)
    assert seen == pb.WatchQueueResponse()
    for tenant in (quota.globex.tenant, "nobody"):
        with pytest.raises(NotFound):
            await quota.watch(quota.acme, tenant)
    with pytest.raises(PermissionDenied):
        await quota.watch(caller_of(quota.acme.tenant, quota.acme.organisation))
    await place.end()
