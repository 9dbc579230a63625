"""FairQueueService as models, operators and tenants see it, with replicas that share one order."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.kit.errors import (
    Aborted,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
)
from tenantry.kit.host import Hosted
from tenantry.kit.redis import connect
from tenantry.quota import server, slot_room
from tenantry.quota.service import queue
from tests.functional.quota.queue_room import OPERATOR, Place, Replicas, replicas
from tests.harness.killable import killable
from tests.harness.room import served
from tests.harness.stores import RedisServer


@pytest.fixture
async def quota(valkey_books: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    async with replicas(valkey_books, tmp_path) as running:
        yield running


async def test_below_capacity_a_place_is_granted_at_once_and_its_end_is_moved(quota: Replicas) -> None:
    place = await quota.acquire(quota.acme)
    first = await place.granted()
    second = await place.granted()
    assert (first.pool, first.ticket, first.epoch) == (second.pool, second.ticket, second.epoch)
    assert second.expire_time.ToNanoseconds() > first.expire_time.ToNanoseconds()
    assert place.waited == []
    await place.end()
    await quota.until_used(in_use=0, room=256, waiting=0)


async def test_replicas_share_one_order_and_a_release_at_one_grants_at_the_other(quota: Replicas) -> None:
    await quota.set_pool(capacity=1)
    running = await quota.acquire(quota.acme, 0)
    await running.granted()
    second = await quota.acquire(quota.globex, 1)
    assert (await second.waits()).place == 1
    third = await quota.acquire(quota.globex, 0)
    assert (await third.waits()).place == 2
    await running.end()
    await second.granted()
    await second.end()
    await third.granted()
    await third.end()


@pytest.mark.parametrize("how", ["cancel", "half-close"])
async def test_a_client_that_goes_gives_its_place_back_whether_it_ran_or_waited(quota: Replicas, how: str) -> None:
    await quota.set_pool(capacity=1)

    async def go(place: Place) -> None:
        if how == "cancel":
            place.stream.cancel()
        else:
            await place.stream.done_writing()

    running = await quota.acquire(quota.acme)
    await running.granted()
    waiting = [await quota.acquire(quota.acme, 1) for _ in range(3)]
    for place in waiting:
        await place.waits()
    await go(waiting[0])
    await quota.until_used(waiting=2)
    await go(running)
    await waiting[1].granted()
    await waiting[1].end()
    await waiting[2].granted()
    await waiting[2].end()


async def test_a_killed_replica_frees_its_seats_and_its_waiting_calls_when_their_leases_end(
    quota: Replicas, tmp_path: Path
) -> None:
    await quota.set_pool(capacity=1)
    with killable(quota.settings, tmp_path / "killed") as replica:
        quota.rooms.append(replica.served)
        running = await quota.acquire(quota.acme, 2)
        await running.granted()
        gone = await quota.acquire(quota.acme, 2)
        await gone.waits()
        waiting = await quota.acquire(quota.globex, 0)
        await waiting.waits()
        replica.kill()
        await waiting.granted()
        await quota.until_used(in_use=1, room=1, waiting=0)
        await waiting.end()
        await replica.served.close()


async def test_a_pool_that_nobody_calls_any_more_is_swept_by_the_timer(quota: Replicas, tmp_path: Path) -> None:
    with killable(quota.settings, tmp_path / "killed") as replica:
        quota.rooms.append(replica.served)
        await (await quota.acquire(quota.acme, 2)).granted()
        await quota.until_used(in_use=1)
        replica.kill()
        await replica.served.close()
    await quota.until_used(in_use=0)


@pytest.mark.parametrize("how", ["killed", "drained"])
async def test_a_lease_whose_replica_is_gone_goes_on_at_another_and_is_counted_once(
    quota: Replicas, tmp_path: Path, how: str
) -> None:
    await quota.set_pool(capacity=2)
    receipt = await quota.receipt(quota.acme)
    if how == "killed":
        with killable(quota.settings, tmp_path / "killed") as replica:
            quota.rooms.append(replica.served)
            lease = await (await quota.acquire(quota.acme, 2, receipt=receipt)).granted()
            replica.kill()
            await replica.served.close()
    else:
        hosted = Hosted("quota", server.build, quota.settings)
        async with served(hosted, state=tmp_path / "drained", kind="network") as room:
            quota.rooms.append(room)
            lease = await (await quota.acquire(quota.acme, 2, receipt=receipt)).granted()
    place = await quota.begin(pb.SlotBegin(receipt=receipt, lease=lease, output_tokens=7), 1)
    again = await place.granted()
    assert (again.ticket, again.epoch) == (lease.ticket, lease.epoch)
    await quota.until_used(in_use=1, room=2, waiting=0)
    # Two of its lives: it goes on for as long as the stream does.
    for _ in range(6):
        await place.granted()
    await place.end()
    await quota.until_used(in_use=0)


async def test_a_lease_that_was_given_back_or_has_ended_can_not_be_taken_up(quota: Replicas) -> None:
    receipt = await quota.receipt(quota.acme)
    place = await quota.acquire(quota.acme, receipt=receipt)
    lease = await place.granted()
    await place.end()
    with pytest.raises(Aborted) as refused:
        await (await quota.begin(pb.SlotBegin(receipt=receipt, lease=lease), 1)).granted()
    assert refused.value.reason == Reason.HANDLE_LOST


async def test_books_that_were_lost_know_running_calls_again_in_another_epoch_each_once(
    own_books: RedisServer, tmp_path: Path
) -> None:
    async with replicas(own_books.url, tmp_path) as quota:
        await quota.set_pool(capacity=2)
        places = [await quota.acquire(caller, 0) for caller in (quota.acme, quota.globex)]
        before = [await place.granted() for place in places]
        waiting = await quota.acquire(quota.acme, 1)
        await waiting.waits()
        redis = connect(own_books.url, store="books")
        await redis.execute("FLUSHALL")
        await redis.close()
        own_books.stop()
        own_books.start()
        for place, lease in zip(places, before, strict=True):
            after = await place.granted()
            while after.epoch == lease.epoch:
                after = await place.granted()
            assert after.ticket == lease.ticket
        use = (await quota.watch(OPERATOR)).pool
        assert use.in_use in (2, 3)  # the waiting call may have been first in the empty books
        await asyncio.gather(*(place.end() for place in places))
        await waiting.granted()
        await waiting.end()
        await quota.until_used(in_use=0)


async def test_what_can_not_begin_in_time_is_refused_with_the_expected_wait(quota: Replicas) -> None:
    await quota.set_pool(capacity=1)
    first = await quota.acquire(quota.acme)
    await first.granted()
    late = await quota.acquire(quota.acme, within_s=0.1)
    with pytest.raises(ResourceExhausted) as refused:
        await late.granted()
    assert refused.value.reason == Reason.QUEUE_LATE
    await first.granted()  # a second has passed: calls take that long
    await first.end()
    await (second := await quota.acquire(quota.acme)).granted()
    with pytest.raises(ResourceExhausted) as refused:
        await (await quota.acquire(quota.globex, 1, within_s=0.5)).granted()
    assert refused.value.retry_after_s is not None and refused.value.retry_after_s >= 1.0
    assert refused.value.metadata["pool"] == quota.pool
    await second.end()


async def test_of_a_full_queue_the_longest_backlog_loses_wherever_it_waits(quota: Replicas) -> None:
    await quota.set_pool(capacity=1, most_waiting=2)
    running = await quota.acquire(quota.acme)
    await running.granted()
    waiting = list[Place]()
    for _ in range(2):
        waiting.append(await quota.acquire(quota.acme, 1))
        await waiting[-1].waits()
    newcomer = await quota.acquire(quota.globex, 0)
    await newcomer.waits()
    with pytest.raises(ResourceExhausted) as refused:
        await waiting[1].granted()
    assert refused.value.reason == Reason.QUEUE_FULL
    await running.end()
    await newcomer.granted()
    await newcomer.end()
    await waiting[0].granted()
    await waiting[0].end()


async def test_a_call_larger_than_the_pool_is_refused(quota: Replicas) -> None:
    await quota.set_pool(kind=pb.POOL_KIND_TOKENS, capacity=100)
    with pytest.raises(ResourceExhausted) as refused:
        await (await quota.acquire(quota.acme, max_output_tokens=91)).granted()
    assert (refused.value.reason, refused.value.retry_after_s) == (Reason.LARGER_THAN_LIMIT, None)
    place = await quota.acquire(quota.acme, max_output_tokens=90)
    await place.granted()
    assert (await quota.watch(OPERATOR)).pool.in_use == 100
    await place.end()


async def test_a_provider_that_refuses_for_its_rate_makes_an_adaptive_pool_smaller_and_holds_grants(
    quota: Replicas,
) -> None:
    await quota.set_pool(capacity=8, adaptive=True)
    first, second = [await quota.acquire(quota.acme) for _ in range(2)]
    await first.granted()
    await second.granted()
    await first.end(pb.SLOT_OUTCOME_THROTTLED, retry_s=1.0)
    await quota.until_used(room=4)
    held = await quota.acquire(quota.acme, 1)
    await held.waits()
    await held.granted()
    await held.end()
    await second.end()


async def test_priority_orders_a_tenants_own_calls(quota: Replicas) -> None:
    await quota.set_pool(capacity=1)
    running = await quota.acquire(quota.acme)
    await running.granted()
    usual = await quota.acquire(quota.acme, 0)
    await usual.waits()
    urgent = await quota.acquire(quota.acme, 1, priority=9)
    assert (await urgent.waits()).place == 1
    await running.end()
    await urgent.granted()
    await urgent.end()
    await usual.granted()
    await usual.end()


async def test_a_stream_without_a_first_message_is_ended(quota: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "FIRST_WITHIN_S", 0.2)
    with pytest.raises(DeadlineExceeded):
        await Place(quota.queue().AcquireSlot()).granted()


async def test_a_stream_that_sends_nothing_but_stays_open_has_its_seat_no_longer_than_any_request_may_last(
    quota: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_room, "LONGEST_REQUEST_S", 4.0)  # longer than a lease, which is renewed meanwhile
    await quota.set_pool(capacity=1)
    silent = await quota.acquire(quota.acme)
    first = await silent.granted()
    waiting = await quota.acquire(quota.globex, 1)
    await waiting.waits()
    assert (await silent.granted()).expire_time.ToNanoseconds() > first.expire_time.ToNanoseconds()
    await waiting.granted()
    with pytest.raises(DeadlineExceeded):
        while await silent.granted():
            pass
    await quota.until_used(in_use=1, waiting=0)
    await waiting.end()


async def test_a_client_that_never_reads_gets_its_seat_holds_up_nobody_and_leaves_nothing(quota: Replicas) -> None:
    await quota.set_pool(capacity=2)
    deaf = await quota.acquire(quota.acme)
    await quota.until_used(in_use=1)
    for _ in range(20):
        place = await quota.acquire(quota.globex, 1)
        await place.granted()
        await place.end()
    deaf.stream.cancel()
    await quota.until_used(in_use=0, waiting=0)


async def test_a_herd_over_two_replicas_is_served_whole_and_never_above_capacity(quota: Replicas) -> None:
    await quota.set_pool(capacity=5)
    receipts = await asyncio.gather(
        *(quota.receipt(caller) for caller in (quota.acme, quota.globex) for _ in range(30))
    )
    running, most = 0, 0

    async def call(number: int) -> None:
        nonlocal running, most
        place = await quota.acquire(quota.acme, number % 2, receipt=receipts[number])
        await place.granted()
        running += 1
        most = max(most, running)
        await place.progress(5)
        running -= 1
        await place.end()

    await asyncio.gather(*map(call, range(len(receipts))))
    assert most <= 5
    await quota.until_used(in_use=0, room=5, waiting=0)


async def test_people_see_what_runs_and_waits_and_a_tenants_admin_its_own_alone(quota: Replicas) -> None:
    await quota.set_pool(capacity=1)
    running = await quota.acquire(quota.acme)
    await running.granted()
    waiting = [await quota.acquire(caller) for caller in (quota.globex, quota.globex, quota.acme)]
    for place in waiting:
        await place.waits()
    seen = await quota.watch(OPERATOR)
    assert seen.pool == pb.PoolUse(in_use=1, room=1, waiting=3)
    rows = {row.tenant: (row.running, row.waiting, row.weight, row.share) for row in seen.rows}
    assert rows == {quota.acme.tenant: (1, 1, 4, 0.5), quota.globex.tenant: (0, 2, 4, 0.5)}
    own = await quota.watch(quota.acme)
    assert [row.tenant for row in own.rows] == [quota.acme.tenant]
    assert not own.HasField("pool")
    with pytest.raises(NotFound):
        await quota.watch(quota.acme, quota.globex.tenant)
    for place in waiting:
        place.stream.cancel()
    await running.end()


async def test_what_is_wrong_in_the_first_message_is_named(quota: Replicas) -> None:
    receipt = await quota.receipt(quota.acme)
    for field, value in {"pool": "", "input_tokens": -1, "max_output_tokens": 10**8 + 1, "priority": 10}.items():
        place = await quota.acquire(quota.acme, receipt=receipt, **{field: value})
        with pytest.raises(InvalidArgument) as refused:
            await place.granted()
        assert refused.value.violations[0][0] == f"begin.{field}"
    stream = quota.queue().AcquireSlot()
    await stream.write(pb.AcquireSlotRequest(progress=pb.SlotProgress(output_tokens=1)))
    with pytest.raises(InvalidArgument) as refused:
        await Place(stream).granted()
    assert refused.value.violations[0][0] == "begin"
