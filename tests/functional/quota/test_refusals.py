"""Who is refused how often, as `tenantry top` asks: whatever refused it, at whichever replica."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.api.quota.v1 import limit_service_pb2 as pb
from tenantry.api.quota.v1 import reservation_service_pb2 as reservation_pb
from tenantry.api.quota.v1.call_service_pb2 import AdmitCallRequest
from tenantry.api.quota.v1.call_service_pb2_grpc import CallServiceStub
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.api.quota.v1.reservation_service_pb2_grpc import ReservationServiceStub
from tenantry.kit.caller import Caller
from tenantry.kit.errors import NotFound, PermissionDenied, ResourceExhausted
from tenantry.kit.owner import Tenant
from tenantry.quota.tiers import CALLS
from tests.functional.quota.queue_room import OPERATOR, Replicas, replicas
from tests.harness.calls import use_up
from tests.harness.poll import until
from tests.harness.room import caller_of


@pytest.fixture
async def quota(valkey_books: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    async with replicas(valkey_books, tmp_path, 2) as running:
        yield running


async def listed(quota: Replicas, caller: Caller, tenant: str = "", replica: int = 0) -> dict[str, int]:
    with quota.rooms[replica].calling(caller):
        stub = LimitServiceStub(quota.rooms[replica].channel("quota"))
        answer = await stub.ListRefusedTenants(pb.ListRefusedTenantsRequest(tenant=tenant))
    return {one.tenant: one.refusals for one in answer.tenants}


async def until_refused(quota: Replicas, caller: Caller, times: int) -> None:
    async def so() -> bool:
        return (await listed(quota, caller)).get(caller.tenant, 0) >= times

    await until(so, within_s=5, every_s=0.1)
    assert await listed(quota, caller) == {caller.tenant: times}


async def refused_by_its_limit(quota: Replicas, caller: Caller, replica: int) -> None:
    request = reservation_pb.ReserveQuotaRequest(nonce="n" * 16, model="m", input_tokens=10**8)
    with quota.rooms[replica].calling(caller), pytest.raises(ResourceExhausted):
        await ReservationServiceStub(quota.rooms[replica].channel("quota", service="gateway")).ReserveQuota(request)


async def test_refusals_at_two_replicas_add_up_and_each_tenant_has_its_own(quota: Replicas) -> None:
    for caller, replica in ((quota.acme, 0), (quota.acme, 1), (quota.acme, 1), (quota.globex, 1)):
        await refused_by_its_limit(quota, caller, replica)
    await until_refused(quota, quota.acme, 3)
    await until_refused(quota, quota.globex, 1)
    for replica in (0, 1):
        seen = await listed(quota, OPERATOR, replica=replica)
        assert (seen[quota.acme.tenant], seen[quota.globex.tenant]) == (3, 1)
        assert list(seen.values()) == sorted(seen.values(), reverse=True)
    assert await listed(quota, OPERATOR, quota.globex.tenant) == {quota.globex.tenant: 1}


async def test_a_call_that_the_queue_refuses_or_that_may_not_enter_is_a_refusal_too(
    quota: Replicas, valkey_books: str
) -> None:
    await quota.set_pool(capacity=1)
    running = await quota.acquire(quota.globex)
    await running.granted()
    late = await quota.acquire(quota.acme, within_s=0.05)
    with pytest.raises(ResourceExhausted):
        await late.granted()
    await quota.set_pool(capacity=1, most_waiting=0, version=1)
    full = await quota.acquire(quota.acme, 1)
    with pytest.raises(ResourceExhausted):
        await full.granted()
    await running.end()
    await until_refused(quota, quota.acme, 2)
    await use_up(valkey_books, Tenant(quota.acme.organisation, quota.acme.tenant), CALLS["pro"])
    room = quota.rooms[1]
    with room.calling(quota.acme), pytest.raises(ResourceExhausted):
        await CallServiceStub(room.channel("quota", service="gateway")).AdmitCall(AdmitCallRequest())
    await until_refused(quota, quota.acme, 3)
    assert await listed(quota, quota.globex) == {}


async def test_nobody_learns_of_refusals_that_are_not_its_to_know(quota: Replicas) -> None:
    await asyncio.gather(*(refused_by_its_limit(quota, caller, 0) for caller in (quota.acme, quota.globex)))
    await until_refused(quota, quota.globex, 1)
    scopes = {"limits.read"}
    theirs = quota.globex.tenant
    for caller in (quota.acme, caller_of("", quota.acme.organisation, scopes=scopes)):
        for tenant in (theirs, "nobody"):
            with pytest.raises(NotFound):
                await listed(quota, caller, tenant)
    assert await listed(quota, quota.acme) == {quota.acme.tenant: 1}
    assert await listed(quota, caller_of("", quota.globex.organisation, scopes=scopes), theirs) == {theirs: 1}
    with pytest.raises(PermissionDenied):
        await listed(quota, caller_of(theirs, quota.globex.organisation))
