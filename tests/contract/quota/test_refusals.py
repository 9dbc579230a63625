"""Counts of refusals in the books."""

import secrets
from collections.abc import Sequence

import pytest

from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.redis import Redis
from tenantry.quota import keys
from tenantry.quota.store_redis_refusals import RedisRefusals

PLATFORM = Platform()


@pytest.fixture
def names() -> list[str]:
    """Tenants of this test's own: the books are shared."""
    mark = secrets.token_hex(4)
    return [f"{letter}-{mark}" for letter in "abc"]


def own(found: Sequence[tuple[str, int]], names: list[str]) -> list[tuple[str, int]]:
    return [one for one in found if one[0] in names]


async def test_what_replicas_count_adds_up_and_the_most_refused_come_first(
    books_redis: Redis, names: list[str]
) -> None:
    here, there = RedisRefusals(books_redis), RedisRefusals(books_redis)
    a, b, c = names
    await here.add(PLATFORM, {a: 1_001, b: 2_000})
    await there.add(PLATFORM, {a: 1_002})
    assert [await there.of(Tenant("org", name)) for name in names] == [2_003, 2_000, 0]
    assert own(await here.most(PLATFORM, 200), names) == [(a, 2_003), (b, 2_000)]
    await there.add(PLATFORM, {b: 4, c: 3_000})
    assert own(await here.most(PLATFORM, 200), names) == [(c, 3_000), (b, 2_004), (a, 2_003)]
    assert len(await here.most(PLATFORM, 2)) == 2


async def test_a_thousand_tenants_are_counted_and_ten_seconds_end_by_themselves_within_a_minute(
    books_redis: Redis, names: list[str]
) -> None:
    refusals = RedisRefusals(books_redis)
    await refusals.add(PLATFORM, {f"{names[0]}-{number}": 7 for number in range(1_000)})
    assert await refusals.of(Tenant("org", f"{names[0]}-999")) == 7
    left_ms = await books_redis.pipeline([("PTTL", key) for key in keys.refusals_keys()])
    there = [left for left in left_ms if left != -2]
    assert there and all(0 < left <= 60_000 for left in there) and max(there) > 45_000
