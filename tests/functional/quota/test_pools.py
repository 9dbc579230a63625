"""Pools as operators set and list them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.api.quota.v1.queue_service_pb2_grpc import FairQueueServiceStub
from tenantry.kit.errors import Aborted, InvalidArgument, PermissionDenied, Reason
from tests.functional.quota.queue_room import OPERATOR, Replicas, replicas
from tests.harness.room import caller_of


@pytest.fixture
async def quota(valkey_books: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    async with replicas(valkey_books, tmp_path) as running:
        yield running


async def test_a_pool_is_set_by_operators_with_versions_and_listed(quota: Replicas) -> None:
    first = await quota.set_pool(capacity=7, adaptive=True)
    assert first.version == 1
    with pytest.raises(Aborted) as refused:
        await quota.set_pool(capacity=8)
    assert refused.value.reason == Reason.VERSION_CONFLICT
    second = await quota.set_pool(capacity=8, version=1)
    with quota.rooms[1].calling(OPERATOR):
        stub = FairQueueServiceStub(quota.rooms[1].channel("quota"))
        assert second in (await stub.ListPools(pb.ListPoolsRequest())).pools
    for caller in (quota.acme, caller_of("", "acme-org", scopes={"limits.read", "limits.write"})):
        writer = replace(caller, scopes=frozenset({"limits.read", "limits.write"}))
        with quota.rooms[0].calling(writer):
            stub = FairQueueServiceStub(quota.rooms[0].channel("quota"))
            with pytest.raises(PermissionDenied):
                await stub.ListPools(pb.ListPoolsRequest())
            with pytest.raises(PermissionDenied):
                await stub.UpdatePool(pb.UpdatePoolRequest(pool=second))


async def test_pools_that_are_in_use_are_listed_whether_they_were_set_or_not(quota: Replicas) -> None:
    with quota.rooms[0].calling(OPERATOR):
        stub = FairQueueServiceStub(quota.rooms[0].channel("quota"))

        async def names() -> list[tuple[str, int, int]]:
            pages: list[tuple[str, int, int]] = []
            request: pb.ListPoolsRequest = pb.ListPoolsRequest(in_use=True)
            request.page.size = 1
            while True:
                answer = await stub.ListPools(request)
                pages += [(pool.name, pool.capacity, pool.version) for pool in answer.pools]
                request.page.token = answer.page.next_token
                if not answer.page.next_token:
                    return pages

        assert quota.pool not in [name for name, *_ in await names()]
        places = [await quota.acquire(quota.acme, pool=name) for name in (quota.pool, f"{quota.pool} 2")]
        for place in places:
            await place.granted()
        listed = await names()
        assert (quota.pool, 256, 0) in listed and (f"{quota.pool} 2", 256, 0) in listed
        assert listed == sorted(listed)
        for place in places:
            await place.end()


async def test_each_wrong_field_of_a_pool_is_named(quota: Replicas) -> None:
    wrong = {"capacity": 0, "input_weight": 0, "output_weight": 101, "most_waiting": -1, "version": -1}
    with pytest.raises(InvalidArgument) as refused:
        await quota.set_pool(**wrong)
    assert [field for field, _ in refused.value.violations] == [f"pool.{field}" for field in wrong]
