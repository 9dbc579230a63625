"""FairQueueService as models, operators and tenants see it, with replicas that share one order."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.kit.errors import Aborted, InvalidArgument, NotFound, PermissionDenied, Reason, ResourceExhausted
from tests.functional.quota.queue_room import OPERATOR, Place, Replicas, replicas
from tests.harness.poll import until
from tests.harness.room import caller_of


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
    assert (await quota.watch(OPERATOR)).pool == pb.PoolUse(in_use=0, room=256, waiting=0)


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

    async def waits_no_more() -> bool:
        return (await quota.watch(OPERATOR)).pool.waiting == 2

    await until(waits_no_more)
    await go(running)
    await waiting[1].granted()
    await waiting[1].end()
    await waiting[2].granted()
    await waiting[2].end()


async def test_a_replica_that_is_gone_frees_its_seats_when_its_leases_end(quota: Replicas) -> None:
    await quota.set_pool(capacity=1)
    lost = await quota.acquire(quota.acme, 1)
    await lost.granted()
    await quota.rooms[1].host.registry.handlers  # the room is there
    waiting = await quota.acquire(quota.globex, 0)
    await waiting.waits()


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
