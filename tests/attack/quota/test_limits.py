"""Limits: counters without end, names that reach others' counters, and rights that nobody gave."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1 import reservation_service_pb2 as pb
from tenantry.kit.errors import NotFound, PermissionDenied, ResourceExhausted
from tenantry.kit.owner import Tenant
from tenantry.kit.redis import Redis, connect
from tenantry.quota import keys
from tenantry.quota.entries import Ask, Held, Limits
from tenantry.quota.holds import Terms
from tenantry.quota.store_redis import RedisBooks
from tests.functional.quota.quota_room import Quota, serve
from tests.harness.demands import demand_of, subject_of
from tests.harness.room import caller_of

OPERATOR = caller_of("", "", scopes={"limits.read", "limits.write"})


@pytest.fixture
async def quota(valkey_books: str, tmp_path: Path) -> AsyncIterator[Quota]:
    async for running in serve(valkey_books, tmp_path, "network"):
        yield running


@pytest.fixture
async def redis(valkey_books: str) -> AsyncIterator[Redis]:
    connection = connect(valkey_books, store="books")
    yield connection
    await connection.close()


async def test_end_users_made_without_end_get_a_bounded_number_of_counters(redis: Redis) -> None:
    owner = Tenant(f"flood-{secrets.token_hex(4)}-org", f"flood-{secrets.token_hex(4)}")
    books = RedisBooks(redis, Terms(crowd_most=50))
    wide, narrow = Limits(10**6, 10**6, concurrent_requests=10_000), Limits(60, 2)
    admitted = 0
    for number in range(400):
        ask = Ask(owner, f"res_{owner.id}_{number}", f"n{number}", "key", f"u{number}", "gpt", "", 1, 0)
        demand = demand_of(owner, wide, subject_of(owner, narrow, f"u{number}"))
        admitted += isinstance(await books.reserve(owner, ask, demand), Held)
    fields = await redis.execute("HKEYS", keys.bucket_keys(keys.bucket_of(owner.organisation))[0])
    mine = [field for field in fields if field.decode().startswith(keys.counters_field(owner))]
    assert len(mine) == 52, "the tenant's, the crowd's and the others'"
    # The others share one counter: they are admitted less, and never more.
    assert 52 <= admitted <= 54


async def ask(quota: Quota, user: str, model: str = "gpt") -> None:
    request = pb.ReserveQuotaRequest(nonce=secrets.token_hex(12), model=model, end_user=user, input_tokens=1)
    with quota.room.calling(quota.acme):
        await quota.reservations.ReserveQuota(request)


@pytest.mark.parametrize(
    "user", ["*", "ann:x", "3:ann", "annm3:gpt", 'ann"],[', "ann\\", "ann\n", "ａｎｎ", "ANN", "ann "]
)
async def test_an_end_user_whose_name_looks_like_anothers_counts_for_itself(quota: Quota, user: str) -> None:
    limits = limit_pb.QuotaLimits(requests_per_minute=1, request_burst=1)
    request = limit_pb.SetLimitRuleRequest(
        tenant=quota.acme.tenant, rule=limit_pb.LimitRule(end_user="*", limits=limits)
    )
    with quota.room.calling(OPERATOR):
        await quota.limits.SetLimitRule(request)
    await ask(quota, "ann")
    await ask(quota, user)
    for name in ("ann", user):
        with pytest.raises(ResourceExhausted):
            await ask(quota, name)


async def test_a_tenants_admin_sets_no_limit_and_whoever_may_sets_none_of_others(quota: Quota) -> None:
    theirs = quota.globex.tenant
    rule = limit_pb.LimitRule(model="gpt", limits=limit_pb.QuotaLimits(concurrent_requests=100_000))
    requests = [
        limit_pb.SetLimitRuleRequest(tenant=theirs, rule=rule),
        limit_pb.SetLimitRuleRequest(organisation=quota.globex.organisation, rule=rule),
        limit_pb.SetLimitRuleRequest(organisation=quota.acme.organisation, rule=rule),
    ]
    scopes = {"limits.read", "limits.write"}
    for caller in (quota.acme, caller_of(quota.acme.tenant, quota.acme.organisation, scopes=scopes)):
        for request in requests:
            with quota.room.calling(caller), pytest.raises((PermissionDenied, NotFound)):
                await quota.limits.SetLimitRule(request)
    gone = limit_pb.DeleteLimitRuleRequest(tenant=theirs, model="gpt")
    with quota.room.calling(caller_of("", quota.acme.organisation, scopes=scopes)), pytest.raises(NotFound):
        await quota.limits.DeleteLimitRule(gone)
