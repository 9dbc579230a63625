"""The outbox when a replica takes over that had not heard of the newest entries, and by whose clock it is earlier."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tenantry.kit.clock import SystemClock
from tenantry.kit.owner import Platform
from tenantry.kit.redis import Redis, connect
from tenantry.quota import keys
from tenantry.quota.entries import Batch
from tenantry.quota.holds import Terms
from tenantry.quota.outbox_redis import RedisOutbox
from tenantry.quota.settlements import Settlements
from tenantry.quota.store_redis import RedisBooks
from tests.contract.quota.test_outbox import OWNERS, settle, take
from tests.harness import left_out
from tests.harness.poll import until
from tests.harness.redis_cluster import ask
from tests.harness.stores import BOOKS, RedisServer, running

OWNER = OWNERS[0]
OUTBOX = keys.outbox_key(keys.bucket_of(OWNER.organisation))
AN_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and its replica. `redis` is a client that knows the primary's address alone."""

    primary: RedisServer
    replica: RedisServer
    redis: Redis

    async def part(self) -> None:
        """The replica, which has all so far, hears no more; and the primary's clock, by which the outbox goes on, is ahead."""

        async def even() -> bool:
            return await ask(self.replica, "XLEN", OUTBOX) == await ask(self.primary, "XLEN", OUTBOX)

        await until(even, what="the replica's having all")
        await ask(self.replica, "REPLICAOF", "NO", "ONE")
        await ask(self.primary, "XSETID", OUTBOX, f"{int(time.time() * 1000) + AN_HOUR_MS}-0")

    async def fail_over(self) -> None:
        """The primary dies, and the replica is found at its address."""
        self.primary.kill()
        await ask(self.replica, "CONFIG", "SET", "port", self.primary.port)


@pytest.fixture(params=["valkey", "redis"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    binary = Path(left_out.require("redis-server")) if request.param == "redis" else None
    at_once = (*BOOKS, "--repl-diskless-sync-delay", "0")
    with running(at_once, binary) as primary:
        following = ("--replicaof", f"127.0.0.1 {primary.port}")
        with running((*BOOKS, *following), binary) as replica:
            connection = connect(primary.url, store="books")
            yield Pair(primary, replica, connection)
            await connection.close()


@dataclass(frozen=True, slots=True)
class After:
    """A failover with a reader that runs, `batches`: what is in the outbox now, and what it had read and there is no more."""

    settlements: Settlements
    batches: AsyncGenerator[Batch]
    there: list[str]
    forgotten: Batch


@pytest.fixture
async def after(pair: Pair) -> AsyncIterator[After]:
    books = RedisBooks(pair.redis, Terms())
    outbox = RedisOutbox(pair.redis, books.grown)
    settlements = Settlements(outbox, SystemClock(), keys.BUCKETS)
    batches = settlements.batches()
    there = [await settle(books, OWNER, 0)]
    await take(batches, 1)
    await pair.part()
    await settle(books, OWNER, 1)
    await outbox.announce(Platform())
    [forgotten] = await take(batches, 1)
    await pair.fail_over()
    there.append(await settle(books, OWNER, 2))
    await outbox.announce(Platform())
    yield After(settlements, batches, there, forgotten)
    await batches.aclose()


async def test_what_is_settled_after_a_failover_reaches_a_reader_that_runs_and_is_acknowledged_by_it(
    after: After, pair: Pair
) -> None:
    [batch] = await take(after.batches, 2)
    assert [entry.reservation for entry in batch.entries] == after.there
    await after.settlements.acknowledge([batch.cursor, after.forgotten.cursor])
    assert await pair.redis.execute("XLEN", OUTBOX) == 0


async def test_what_is_settled_after_a_failover_is_not_acknowledged_by_a_cursor_from_before(after: After) -> None:
    await after.settlements.acknowledge([after.forgotten.cursor])
    [batch] = await take(after.settlements.batches(), 2)
    assert [entry.reservation for entry in batch.entries] == after.there
