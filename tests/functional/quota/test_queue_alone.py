"""The fair queue while the books are away: each replica gives its share of a pool, and what runs goes on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.quota.presence import StandbyTerms
from tests.functional.quota.queue_room import Place, Replicas, replicas
from tests.harness.stores import RedisServer

REPLICAS = 2
CAPACITY = 4


@pytest.fixture
async def quota(own_books: RedisServer, tmp_path: Path) -> AsyncIterator[Replicas]:
    """Two replicas and a pool of four seats, on books that the test stops and starts."""
    async with replicas(own_books.url, tmp_path, REPLICAS, standby=StandbyTerms(REPLICAS)) as running:
        await running.set_pool(capacity=CAPACITY)
        yield running


async def test_each_replica_alone_gives_its_share_of_a_pool(quota: Replicas, own_books: RedisServer) -> None:
    own_books.kill()
    for replica in range(REPLICAS):
        running = [await quota.acquire(quota.acme, replica) for _ in range(CAPACITY // REPLICAS)]
        for place in running:
            await place.granted()
        waiting = await quota.acquire(quota.globex, replica)
        assert (await waiting.waits()).place == 1
        await running[0].end()
        await waiting.granted()


async def test_calls_that_run_and_wait_go_on_without_the_books_and_with_them_again(
    quota: Replicas, own_books: RedisServer
) -> None:
    running = [await quota.acquire(quota.acme) for _ in range(CAPACITY)]
    for place in running:
        await place.granted()
    waiting = await quota.acquire(quota.globex)
    await waiting.waits()
    own_books.kill()
    epochs = {(await renewed_elsewhere(place)).epoch for place in running}
    assert len(epochs) == 1
    own_books.start()
    back = {(await renewed_elsewhere(place)).epoch for place in running}
    assert back != epochs
    # All four are counted again, so that a fifth call waits until one has ended.
    await quota.until_used(in_use=CAPACITY, waiting=1)
    await running[0].end()
    await waiting.granted()
    for place in (*running[1:], waiting):
        await place.end()
    await quota.until_used(in_use=0, waiting=0)


async def renewed_elsewhere(place: Place) -> pb.Lease:
    """The first lease of another epoch than the call's last one."""
    assert place.lease is not None
    before = place.lease.epoch
    while (lease := await place.granted()).epoch == before:
        pass
    return lease
