"""A cluster behind the calls of one server: three primaries and three replicas, killed, moved and asked amiss."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tenantry.kit import redis as kit_redis
from tenantry.kit.errors import FailedPrecondition, StoreUnavailable
from tenantry.kit.redis import Redis, Script
from tenantry.kit.redis_cluster import slot_of_key
from tests.harness.poll import until
from tests.harness.redis_cluster import RedisCluster, ask, running_cluster

COUNT = Script("count", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
KEYS = [f"{{slot-{number}}}:key" for number in range(40)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
async def books(cluster: RedisCluster) -> AsyncIterator[Redis]:
    for server in cluster.servers:
        server.start()
    await until(cluster.is_whole, within_s=30)
    books = kit_redis.connect(cluster.url, store="books")
    yield books
    await books.close()


async def test_keys_of_all_slots_are_written_and_read_in_one_pipeline(books: Redis) -> None:
    await books.pipeline([("SET", key, key) for key in KEYS])
    assert await books.pipeline([("GET", key) for key in KEYS]) == [key.encode() for key in KEYS]
    assert await books.execute("GET", KEYS[7]) == KEYS[7].encode()
    assert {key.decode() async for key in books.scan("{slot-*")} == set(KEYS)


async def test_a_script_is_run_where_its_keys_are(books: Redis) -> None:
    await books.pipeline([("DEL", f"{key}:count") for key in KEYS])
    counts = await asyncio.gather(*(books.run(COUNT, [f"{key}:count"], [2]) for key in KEYS for _ in range(3)))
    assert sorted(set(counts)) == [2, 4, 6]


@pytest.mark.parametrize("key", ["plain", "{tag}:a", "{}:whole", "{unclosed", "a{b}{c}", "ümlaut"])
async def test_the_slot_of_a_key_is_the_servers(cluster: RedisCluster, books: Redis, key: str) -> None:
    assert slot_of_key(key) == await ask(cluster.servers[0], "CLUSTER", "KEYSLOT", key)


async def test_replicas_of_books_must_keep_everything_too(cluster: RedisCluster, books: Redis) -> None:
    await kit_redis.require_books(books)
    replica = cluster.servers[-1]
    await ask(replica, "CONFIG", "SET", "appendfsync", "everysec")
    try:
        with pytest.raises(FailedPrecondition):
            await kit_redis.require_books(books)
    finally:
        await ask(replica, "CONFIG", "SET", "appendfsync", "always")


async def test_a_slot_that_moved_is_found_where_it_is(cluster: RedisCluster, books: Redis) -> None:
    key, fresh = "{moving}:key", "{moving}:fresh"
    await books.execute("SET", key, "before")
    old = await cluster.primary_of(key)
    primaries = [server for server in cluster.servers if (await ask(server, "ROLE"))[0] == b"master"]
    new = next(server for server in primaries if server is not old)
    slot = slot_of_key(key)
    old_id, new_id = await ask(old, "CLUSTER", "MYID"), await ask(new, "CLUSTER", "MYID")
    await ask(new, "CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
    await ask(old, "CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
    # Keys that are not at the old place any more are asked for at the new one, once.
    assert await books.run(COUNT, [fresh], [1]) == 1
    await ask(old, "MIGRATE", "127.0.0.1", new.port, key, 0, 5000)
    assert await books.execute("GET", key) == b"before"
    for server in primaries:
        await ask(server, "CLUSTER", "SETSLOT", slot, "NODE", new_id)
    assert await books.execute("GET", key) == b"before"
    assert await books.run(COUNT, [fresh], [1]) == 2


async def test_after_a_primary_was_killed_its_replica_answers_and_others_never_stopped(
    cluster: RedisCluster, books: Redis
) -> None:
    key = KEYS[5]
    await books.execute("SET", key, "kept")
    dead = await cluster.primary_of(key)
    primaries = {key: await cluster.primary_of(key) for key in KEYS}
    elsewhere = next(key for key, primary in primaries.items() if primary is not dead)
    dead.kill()

    async def answered() -> bool:
        try:
            return await books.execute("GET", key) == b"kept"
        except StoreUnavailable:
            return False

    assert not await answered()
    await until(answered, within_s=30)
    assert await books.execute("SET", elsewhere, "still") == b"OK"
    assert await cluster.primary_of(key) is not dead


async def test_a_cluster_of_which_nobody_answers_is_unavailable() -> None:
    away = kit_redis.connect("redis+cluster://127.0.0.1:1,127.0.0.1:2", store="books")
    with pytest.raises(StoreUnavailable):
        await away.execute("GET", "a")
    with pytest.raises(StoreUnavailable):
        await away.ping()
    await away.close()


async def test_one_server_that_is_no_cluster_is_refused_as_one(valkey_cache: str) -> None:
    alone = kit_redis.connect(valkey_cache.replace("redis://", "redis+cluster://"), store="books")
    with pytest.raises(StoreUnavailable):
        await alone.execute("GET", "a")
    await alone.close()
