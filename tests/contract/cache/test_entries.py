"""What every store of entries does."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tenantry.cache.entry import Abandoned, Entry, Found, Full, Lead, Stats, Terms, Wait
from tenantry.cache.keys import scope_keys, tenant_keys
from tenantry.cache.store_redis import RedisEntries
from tenantry.kit.errors import StoreUnavailable
from tenantry.kit.owner import Tenant
from tenantry.kit.redis import Redis, connect
from tests.harness.poll import until
from tests.harness.stores import CACHE, RedisServer

SCOPE = "5c09e"
ENTRY = Entry(b"\x00\xff answer", 7, b"m" * 32)
HOUR_MS = 3_600_000
KINDS = ("entry", "flight", "places", "generation", "stats")


def handle(number: int) -> str:
    return f"{number:032x}"


async def look(entries: RedisEntries, owner: Tenant, number: int, **more: Any) -> Found:
    return await entries.look_up(owner, SCOPE, handle(number), more.pop("least_epoch", 0), **more)


async def fill(entries: RedisEntries, owner: Tenant, entry: Entry = ENTRY) -> None:
    assert isinstance(await look(entries, owner, 99), Lead)
    assert await entries.save(owner, SCOPE, handle(99), entry, HOUR_MS)


async def test_of_fifty_at_once_one_leads(redis: Redis, acme: Tenant, entries: RedisEntries) -> None:
    found = await asyncio.gather(*(look(entries, acme, number) for number in range(50)))
    assert sum(isinstance(one, Lead) for one in found) == 1
    assert sum(isinstance(one, Wait) for one in found) == 3
    assert sum(isinstance(one, Full) for one in found) == 46
    assert await entries.stats(acme) == Stats(0, 1, 3, 0)


async def test_an_entry_comes_back_byte_by_byte(entries: RedisEntries, acme: Tenant) -> None:
    await fill(entries, acme)
    assert await look(entries, acme, 1) == ENTRY
    assert await entries.look_again(acme, SCOPE, [handle(1)]) == ENTRY
    assert await entries.stats(acme) == Stats(1, 1, 0, 1)


async def test_another_scope_and_another_tenant_find_nothing(entries: RedisEntries, acme: Tenant) -> None:
    await fill(entries, acme)
    assert isinstance(await entries.look_up(acme, SCOPE + "0", handle(1), 0), Lead)
    assert isinstance(await look(entries, replace(acme, id=acme.id + "0"), 1), Lead)


async def test_a_handle_leads_until_its_end_and_then_the_longest_waiting(entries: RedisEntries, acme: Tenant) -> None:
    assert isinstance(await look(entries, acme, 0), Lead)
    handles = [handle(1), handle(2)]
    for number in (1, 2):
        assert await look(entries, acme, number) == Wait(handle(number))

    async def led() -> bool:
        found = await entries.look_again(acme, SCOPE, handles)
        return isinstance(found, Lead) and found.handle == handle(1)

    await until(led)
    assert not await entries.save(acme, SCOPE, handle(0), ENTRY, HOUR_MS)
    assert await entries.renew(acme, SCOPE, handle(0)) is None
    again = await entries.look_again(acme, SCOPE, handles)
    assert isinstance(again, Lead) and again.handle == handle(1)
    assert await entries.look_again(acme, SCOPE, [handle(2)]) == Wait(handle(2))
    assert await entries.save(acme, SCOPE, handle(1), ENTRY, HOUR_MS)
    assert await entries.look_again(acme, SCOPE, [handle(2)]) == ENTRY


async def test_places_lapse_unless_they_are_kept(entries: RedisEntries, acme: Tenant) -> None:
    await look(entries, acme, 0)
    await look(entries, acme, 1)
    await look(entries, acme, 2)

    async def one_left() -> bool:
        await entries.look_again(acme, SCOPE, [handle(1)])
        renewed = await entries.renew(acme, SCOPE, handle(0))
        return renewed is not None and renewed[1] == 1

    await until(one_left)
    assert await entries.abandon(acme, SCOPE, handle(0), True) == Abandoned(False, 1)
    assert await entries.abandon(acme, SCOPE, handle(1), False) == Abandoned(True, 0)
    assert await entries.abandon(acme, SCOPE, handle(0), True) == Abandoned(True, 0)
    assert isinstance(await look(entries, acme, 3), Lead)


async def test_only_the_same_store_may_be_repeated(entries: RedisEntries, acme: Tenant) -> None:
    await fill(entries, acme)
    assert await entries.save(acme, SCOPE, handle(99), ENTRY, HOUR_MS)
    assert not await entries.save(acme, SCOPE, handle(1), ENTRY, HOUR_MS)
    assert await entries.stats(acme) == Stats(0, 1, 0, 1)


async def test_an_entry_below_the_least_epoch_or_to_be_refused_is_dropped(entries: RedisEntries, acme: Tenant) -> None:
    await fill(entries, acme)
    assert await look(entries, acme, 1, least_epoch=7) == ENTRY
    assert isinstance(await look(entries, acme, 2, least_epoch=8), Lead)
    assert await entries.save(acme, SCOPE, handle(2), ENTRY, HOUR_MS)
    assert isinstance(await look(entries, acme, 3, refuse=True), Lead)


@pytest.mark.parametrize("stats", [True, False])
async def test_what_is_forgotten_never_comes_back(entries: RedisEntries, acme: Tenant, stats: bool) -> None:
    await fill(entries, acme)
    assert isinstance(await entries.look_up(acme, "another", handle(1), 0), Lead)
    assert await entries.forget(acme, stats=stats)
    assert not await entries.save(acme, "another", handle(1), ENTRY, HOUR_MS)
    assert not await entries.save(acme, SCOPE, handle(99), ENTRY, HOUR_MS)
    assert await entries.renew(acme, "another", handle(1)) is None
    assert isinstance(await look(entries, acme, 2), Lead)
    assert isinstance(await entries.look_up(acme, "another", handle(3), 0), Lead)
    assert await entries.stats(acme) == (Stats(0, 2, 0, 0) if stats else Stats(0, 4, 0, 1))


async def test_an_evicted_generation_revives_nothing(entries: RedisEntries, redis: Redis, acme: Tenant) -> None:
    await fill(entries, acme)
    await redis.execute("DEL", tenant_keys(acme)[0])
    assert isinstance(await look(entries, acme, 1), Lead)


async def test_all_but_the_tenants_two_keys_expire(entries: RedisEntries, redis: Redis, acme: Tenant) -> None:
    await fill(entries, acme)
    await look(entries, acme, 1, refuse=True)
    await look(entries, acme, 2)
    await entries.save(acme, SCOPE, handle(1), ENTRY, HOUR_MS)
    await look(entries, acme, 3, refuse=True)
    await look(entries, acme, 4)
    found = {key: await redis.execute("PTTL", key) for key in scope_keys(acme, SCOPE)}
    left = dict(zip(KINDS, found.values(), strict=True))
    assert left["entry"] == -2
    assert 0 < left["flight"] <= 1000
    assert 0 < left["places"] <= 500


@pytest.mark.parametrize("kind", range(5), ids=KINDS)
@pytest.mark.parametrize("garbage", ["string", "hash", "list", "zset"])
async def test_garbage_in_any_key_is_a_miss_and_is_got_over(
    entries: RedisEntries, redis: Redis, acme: Tenant, kind: int, garbage: str
) -> None:
    await fill(entries, acme)
    key = scope_keys(acme, SCOPE)[kind]
    await redis.execute("DEL", key)
    fields = [part for name in ("g", "h", "m", "e", "a", "hits", "misses") for part in (name, "\x00junk")]
    written = {"string": ("SET", key, "junk"), "hash": ("HSET", key, *fields), "list": ("LPUSH", key, "junk")}
    await redis.execute(*written.get(garbage, ("ZADD", key, 1, "junk")))
    found = await look(entries, acme, 1, refuse=True)
    assert isinstance(found, Lead)
    assert isinstance(await look(entries, acme, 2), Wait)
    assert await entries.renew(acme, SCOPE, handle(1)) is not None
    assert await entries.save(acme, SCOPE, handle(1), ENTRY, HOUR_MS)
    assert await look(entries, acme, 3) == ENTRY
    await entries.stats(acme)


async def test_an_epoch_that_is_no_number_of_ours_is_not_read_as_one(
    entries: RedisEntries, redis: Redis, acme: Tenant
) -> None:
    for epoch in ("0x7", "7.5", "-1", "9" * 5000):
        await entries.forget(acme, stats=False)
        await fill(entries, acme)
        await redis.execute("HSET", scope_keys(acme, SCOPE)[0], "e", epoch)
        found = await look(entries, acme, 1)
        assert isinstance(found, Lead) or (isinstance(found, Entry) and found.documents_epoch == -1)


async def test_a_redis_that_hangs_is_given_up_soon_and_left_alone_for_a_while(acme: Tenant) -> None:
    server = RedisServer(CACHE)
    connection = connect(server.url, store="cache")
    try:
        server.start()
        entries = RedisEntries(connection, Terms())
        await fill(entries, acme)
        await connection.execute("CLIENT", "PAUSE", 2000, "ALL")
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(StoreUnavailable):
            await look(entries, acme, 1)
        assert loop.time() - started < 1.0
        started = loop.time()
        with pytest.raises(StoreUnavailable):
            await look(entries, acme, 2)
        assert loop.time() - started < 0.1

        async def back() -> bool:
            try:
                return await look(entries, acme, 3) == ENTRY
            except StoreUnavailable:
                return False

        await until(back, 6.0, every_s=0.1)
    finally:
        await connection.close()
        server.remove()
