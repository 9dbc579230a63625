"""Counters of calls: the script answers as the rule in `calls.py` does, and counts in nothing that anybody else counts in."""

import asyncio
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry.kit.owner import Organisation, Owner, Platform, Tenant
from tenantry.kit.redis import Redis, connect
from tenantry.quota import keys
from tenantry.quota.calls import count
from tenantry.quota.entries import CallLimit, Counted
from tenantry.quota.gcra import NEVER, Bucket
from tenantry.quota.store_redis_calls import COUNT, RedisCallCounters

# Real time passes in milliseconds, so rates are such that milliseconds matter.
LIMITS = (CallLimit(60_000, 3), CallLimit(600_000, 40), CallLimit(600, 5))
_step = st.tuples(st.integers(1, 6), st.sampled_from(LIMITS), st.integers(0, 20), st.integers(0, 4))
_steps = st.lists(_step, min_size=1, max_size=25)


async def _both(url: str, steps: list[tuple[int, CallLimit, int, int]]) -> None:
    redis = connect(url, store="books")
    key = keys.calls_key(Tenant("org", secrets.token_hex(6)))
    bucket = Bucket(0, 1)
    try:
        for calls, limit, ahead, pause_ms in steps:
            await asyncio.sleep(pause_ms / 1000)
            now_us, *counted = await redis.run(COUNT, [key], (calls, limit.calls_per_minute, limit.burst, ahead))
            bucket, expected = count(bucket, now_us, calls, limit, ahead)
            assert Counted(*counted) == expected
    finally:
        await redis.close()


def test_the_script_answers_as_the_rule_does(books_url: str, effort: float) -> None:
    @settings(max_examples=int(30 * effort), deadline=None)
    @given(steps=_steps)
    def check(steps: list[tuple[int, CallLimit, int, int]]) -> None:
        asyncio.run(_both(books_url, steps))

    check()


@pytest.mark.parametrize("owner", [Tenant("o", secrets.token_hex(6)), Organisation(secrets.token_hex(6)), Platform()])
async def test_calls_are_counted_all_or_none_and_the_counter_ends_by_itself(books_redis: Redis, owner: Owner) -> None:
    await books_redis.execute("DEL", keys.calls_key(owner))
    counters, limit = RedisCallCounters(books_redis), CallLimit(60, 10)
    assert (await counters.count(owner, 8, limit)).wait_us == 0
    assert 0 < (await counters.count(owner, 3, limit)).wait_us <= 1_000_000
    assert (await counters.count(owner, 2, limit)).wait_us == 0
    assert await counters.count(owner, 11, limit) == Counted(NEVER)
    assert 9_000 < await books_redis.execute("PTTL", keys.calls_key(owner)) <= 10_002


async def test_one_owner_s_calls_are_no_other_s(books_redis: Redis) -> None:
    counters, limit, name = RedisCallCounters(books_redis), CallLimit(60, 1), secrets.token_hex(6)
    for owner in (Tenant(name, name), Tenant(name, f"{name}-2"), Organisation(name)):
        assert (await counters.count(owner, 1, limit)).wait_us == 0
        assert (await counters.count(owner, 1, limit)).wait_us > 0


async def test_what_is_counted_ahead_takes_no_more_than_half_of_the_room(books_redis: Redis) -> None:
    counters, limit, owner = RedisCallCounters(books_redis), CallLimit(60, 10), Organisation(secrets.token_hex(6))
    assert (await counters.count(owner, 2, limit, 3)).ahead == 3
    assert (await counters.count(owner, 1, limit, 100)).ahead == 2
    assert (await counters.count(owner, 3, limit, 1)).wait_us > 0
    last = await counters.count(owner, 2, limit, 1)
    assert (last.wait_us, last.ahead) == (0, 0)
