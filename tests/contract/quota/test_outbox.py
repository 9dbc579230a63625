"""The outbox: in order, until acknowledged, with hints, and never by a cursor from before a failover."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import InvalidArgument
from tenantry.kit.owner import Tenant
from tenantry.kit.redis import Redis, connect
from tenantry.kit.usage import Usage
from tenantry.quota import keys
from tenantry.quota.entries import Ask, Batch, Cursor, Held, Limits, OutboxFull, Settled
from tenantry.quota.holds import Terms
from tenantry.quota.outbox_redis import RedisOutbox
from tenantry.quota.settlements import Settlements, Upkeep
from tenantry.quota.store_redis import RedisBooks
from tests.harness.demands import demand_of

LIMITS = Limits(1_000_000, 10_000, 6_000_000, 100_000, 5_000)
OWNERS = [Tenant(f"org-{number}", f"tenant-{number}") for number in range(5)]


@pytest.fixture
async def redis(books_url: str) -> AsyncIterator[Redis]:
    """Empty books: these tests count what is in all buckets."""
    connection = connect(books_url, store="books")
    try:
        await lose_all(connection)
        yield connection
    finally:
        await connection.close()


async def lose_all(redis: Redis) -> None:
    for server in await redis.servers():
        if (await server.execute("ROLE"))[0] == b"master":
            await server.execute("FLUSHALL")


async def settle(books: RedisBooks, owner: Tenant, number: int) -> str:
    ask = Ask(owner, f"res_{owner.id}_{number:05}", f"nonce-{number:010}", "key_1", "", "gpt", "req", 3, 0)
    assert isinstance(await books.reserve(owner, ask, demand_of(owner, LIMITS)), Held)
    settled = Settled(ask.reservation, owner, "key_1", "", False, 0, Usage(output_tokens=number))
    assert await books.commit(owner, "", settled)
    return ask.reservation


async def take(batches: AsyncIterator[Batch], entries: int, within_s: float = 5.0) -> list[Batch]:
    """The next batches until they hold so many entries."""
    taken: list[Batch] = []
    async with asyncio.timeout(within_s):
        while sum(len(batch.entries) for batch in taken) < entries:
            taken.append(await anext(batches))
    return taken


async def test_all_is_read_in_order_and_again_until_it_is_acknowledged(redis: Redis) -> None:
    books = RedisBooks(redis, Terms())
    made = {owner.id: [await settle(books, owner, number) for number in range(230)] for owner in OWNERS[:2]}
    settlements = Settlements(RedisOutbox(redis, books.grown), SystemClock(), keys.BUCKETS)
    batches: list[Batch] = []
    for _ in range(2):
        batches = await take(aiter(settlements.batches()), 460)
        assert all(len(batch.entries) <= 500 for batch in batches)
        for owner in OWNERS[:2]:
            read = [entry.reservation for batch in batches for entry in batch.entries if entry.owner == owner]
            assert read == made[owner.id]
    half = [batch for batch in batches if batch.cursor.bucket == keys.bucket_of(OWNERS[0].organisation)]
    await settlements.acknowledge([batch.cursor for batch in half])
    left = await take(aiter(settlements.batches()), 230)
    assert {entry.owner for batch in left for entry in batch.entries} == {OWNERS[1]}
    await settlements.acknowledge([batch.cursor for batch in left])
    lengths = await redis.pipeline([("XLEN", keys.outbox_key(bucket)) for bucket in range(keys.BUCKETS)])
    assert sum(lengths) == 0


async def test_what_another_replica_settles_is_seen_by_its_hint(redis: Redis) -> None:
    settling, reading = RedisBooks(redis, Terms()), RedisBooks(redis, Terms())
    clock = SystemClock()
    upkeep = asyncio.create_task(Upkeep(settling, RedisOutbox(redis, settling.grown), clock).announce())
    batches = aiter(Settlements(RedisOutbox(redis, reading.grown), clock, keys.BUCKETS).batches())
    await settle(settling, OWNERS[0], 0)
    await take(batches, 1)
    coming = asyncio.ensure_future(take(batches, 1))
    await asyncio.sleep(0)
    started = clock.monotonic()
    await settle(settling, OWNERS[1], 0)
    await coming
    assert clock.monotonic() - started < 1.0  # a look at all buckets comes only every five seconds
    upkeep.cancel()


async def test_a_cursor_of_another_epoch_acknowledges_nothing(redis: Redis) -> None:
    books = RedisBooks(redis, Terms())
    settlements = Settlements(RedisOutbox(redis, books.grown), SystemClock(), keys.BUCKETS)
    await settle(books, OWNERS[0], 0)
    [batch] = await take(aiter(settlements.batches()), 1)
    cursor = batch.cursor
    await settlements.acknowledge([Cursor(cursor.bucket, "another", cursor.position)])
    assert await take(aiter(settlements.batches()), 1) == [batch]


@pytest.mark.parametrize(
    ("bucket", "position"), [(256, "1-0"), (-1, "1-0"), (0, ""), (0, "1"), (0, "+"), (0, "1-0 ="), (0, "9" * 40 + "-0")]
)
async def test_a_cursor_that_this_stream_never_gave_is_refused(redis: Redis, bucket: int, position: str) -> None:
    settlements = Settlements(RedisOutbox(redis, set()), SystemClock(), keys.BUCKETS)
    with pytest.raises(InvalidArgument):
        await settlements.acknowledge([Cursor(bucket, "epoch", position)])


async def test_a_full_outbox_refuses_holds_and_takes_settlements_until_it_is_read(redis: Redis) -> None:
    books = RedisBooks(redis, Terms(outbox_most=2))
    owner = OWNERS[0]
    asks = [Ask(owner, f"res_{number}", f"nonce-{number:010}", "key", "", "m", "", 1, 0) for number in range(5)]
    for ask in asks[:4]:
        await books.reserve(owner, ask, demand_of(owner, LIMITS))
    for ask in asks[:4]:
        assert await books.commit(owner, "", Settled(ask.reservation, owner, "key", "", False, 0, Usage()))
    assert await books.reserve(owner, asks[4], demand_of(owner, LIMITS)) == OutboxFull()
    assert isinstance(
        await books.reserve(owner, asks[0], demand_of(owner, LIMITS)), Held
    )  # its nonce has its hold already
    settlements = Settlements(RedisOutbox(redis, books.grown), SystemClock(), keys.BUCKETS)
    batches = await take(aiter(settlements.batches()), 4)
    await settlements.acknowledge([batch.cursor for batch in batches])
    assert isinstance(await books.reserve(owner, asks[4], demand_of(owner, LIMITS)), Held)
