"""The change log on SQLite and PostgreSQL, and memories kept true by it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import changes
from tenantry.kit.changes import Change, Poller
from tenantry.kit.clock import SystemClock
from tenantry.kit.memory import Memory
from tenantry.kit.sql import Database, migrate
from tests.harness.clock import FrozenClock
from tests.harness.poll import until
from tests.harness.schema import write_package

UPGRADE = """
changes.create_tables(op.get_bind())
op.create_table("tiers", sa.Column("tenant", sa.Text, primary_key=True), sa.Column("tier", sa.Text))
"""


@pytest.fixture
async def database(sql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    database = Database(sql_url, "probe")
    await migrate(database, write_package(tmp_path / "packages", monkeypatch, [UPGRADE]))
    yield database
    await database.close()


async def set_tier(database: Database, tenant: str, tier: str) -> None:
    async with database.write() as connection:
        upsert = "INSERT INTO tiers VALUES (:tenant, :tier) ON CONFLICT (tenant) DO UPDATE SET tier = excluded.tier"
        await connection.execute(text(upsert), {"tenant": tenant, "tier": tier})
        await changes.record(connection, "tenant", tenant)


class Tiers:
    """A replica's view: a memory of tiers and the poller that keeps it true."""

    def __init__(self, database: Database, clock: FrozenClock | SystemClock) -> None:
        self.loads = 0
        self._database = database
        self.memory: Memory[str | None] = Memory("tenant", self._load, 100, clock=clock)
        self.poller = Poller(database, [self.memory], keep_s=60.0, clock=clock)

    async def _load(self, tenant: str) -> str | None:
        self.loads += 1
        async with self._database.read() as connection:
            query = text("SELECT tier FROM tiers WHERE tenant = :tenant")
            return (await connection.execute(query, {"tenant": tenant})).scalar_one_or_none()


async def test_numbers_rise_by_one_and_tell_kind_and_key(database: Database) -> None:
    async with database.write() as connection:
        assert await changes.record(connection, "tenant", "acme") == 1
        assert await changes.record(connection, "tier") == 2
    async with database.read() as connection:
        assert await changes.read(connection, 0) == (2, [Change(1, "tenant", "acme"), Change(2, "tier", "")])
        assert await changes.read(connection, 1) == (2, [Change(2, "tier", "")])
        assert await changes.read(connection, 2) == (2, [])


async def test_a_change_that_was_rolled_back_takes_no_number(database: Database) -> None:
    with pytest.raises(LookupError):
        async with database.write() as connection:
            await changes.record(connection, "tenant", "acme")
            raise LookupError
    await set_tier(database, "acme", "free")
    async with database.read() as connection:
        assert await changes.read(connection, 0) == (1, [Change(1, "tenant", "acme")])


async def test_a_reader_never_sees_a_number_before_a_smaller_one(database: Database) -> None:
    seen: list[int] = []
    done = asyncio.Event()

    async def read() -> None:
        last = 0
        while not done.is_set() or last < 60:
            async with database.read() as connection:
                last, found = await changes.read(connection, last)
            assert found is not None
            seen.extend(change.number for change in found)

    reading = asyncio.create_task(read())
    await asyncio.gather(*(set_tier(database, f"t{number}", "free") for number in range(60)))
    done.set()
    await reading
    assert seen == list(range(1, 61))


async def test_a_log_that_no_longer_tells_all_says_so(database: Database) -> None:
    for tenant in ("a", "b", "c"):
        await set_tier(database, tenant, "free")
    async with database.write() as connection:
        await connection.execute(text("DELETE FROM changes WHERE number <= 2"))
    async with database.read() as connection:
        assert await changes.read(connection, 0) == (3, None)
        assert await changes.read(connection, 2) == (3, [Change(3, "tenant", "c")])
        assert await changes.read(connection, 7) == (3, None), (
            "a backup came back: numbers are older than what was seen"
        )
        assert await changes.read(connection, 0, most=1) == (3, None)


async def test_what_changed_is_dropped_at_the_next_poll_misses_too(database: Database, clock: FrozenClock) -> None:
    replica = Tiers(database, clock)
    await replica.poller.poll()
    assert [await replica.memory.get(tenant) for tenant in ("acme", "acme", "globex", "globex")] == [None] * 4
    assert replica.loads == 2
    await set_tier(database, "acme", "pro")
    assert await replica.memory.get("acme") is None, "remembered until the poll"
    await replica.poller.poll()
    assert await replica.memory.get("acme") == "pro"
    await replica.memory.get("globex")
    assert replica.loads == 3


async def test_a_change_without_a_key_drops_all_of_its_kind(database: Database, clock: FrozenClock) -> None:
    replica = Tiers(database, clock)
    await replica.poller.poll()
    await replica.memory.get("acme")
    async with database.write() as connection:
        await changes.record(connection, "another kind")
    await replica.poller.poll()
    assert len(replica.memory) == 1
    async with database.write() as connection:
        await changes.record(connection, "tenant")
    await replica.poller.poll()
    assert len(replica.memory) == 0


async def test_a_poller_that_fell_behind_the_trimmed_log_drops_everything(
    database: Database, clock: FrozenClock
) -> None:
    replica = Tiers(database, clock)
    await replica.poller.poll()
    await replica.memory.get("acme")
    await replica.memory.get("globex")
    await set_tier(database, "acme", "pro")
    await set_tier(database, "initech", "pro")
    async with database.write() as connection:
        await changes.trim(connection, before=SystemClock().now() + 60)
    await replica.poller.poll()
    assert len(replica.memory) == 0
    assert await replica.memory.get("acme") == "pro"
    await replica.poller.poll()
    assert len(replica.memory) == 1, "it has caught up"


async def test_watchers_hear_every_change_once_in_order(database: Database, clock: FrozenClock) -> None:
    replica = Tiers(database, clock)
    heard: list[Sequence[Change] | None] = []
    replica.poller.watch(heard.append)
    await replica.poller.poll()
    await set_tier(database, "acme", "pro")
    await set_tier(database, "globex", "free")
    await replica.poller.poll()
    await replica.poller.poll()
    assert heard == [None, [Change(1, "tenant", "acme"), Change(2, "tenant", "globex")]]


async def test_a_poll_is_one_query(database: Database, clock: FrozenClock) -> None:
    replica = Tiers(database, clock)
    await replica.poller.poll()
    statements: list[str] = []
    async with database.read() as connection:
        engine = connection.sync_engine

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    await replica.poller.poll()
    assert len(statements) == 1


async def test_replicas_see_each_others_changes_within_half_a_second_and_old_entries_go(database: Database) -> None:
    replicas = [Tiers(database, SystemClock()) for _ in range(3)]
    polling = [asyncio.create_task(replica.poller.run()) for replica in replicas]
    loop = asyncio.get_running_loop()
    try:
        await until(lambda: all(replica.memory.confirmed for replica in replicas))
        for tier in ("free", "pro", "enterprise"):
            await set_tier(database, "acme", tier)
            changed_at = loop.time()
            for replica in replicas:

                async def sees(replica: Tiers = replica, tier: str = tier) -> bool:
                    return await replica.memory.get("acme") == tier

                await until(sees, within_s=2.0)
            assert loop.time() - changed_at < 0.5 + 0.5  # half a second, and as much for a busy machine
        assert sum(replica.loads for replica in replicas) <= 12
    finally:
        for task in polling:
            task.cancel()
        await asyncio.wait(polling)


async def test_the_poller_trims_and_goes_on_after_a_failure(
    database: Database, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    replica = Tiers(database, clock)
    await set_tier(database, "acme", "free")  # entered by the system clock, long after the frozen one
    polling = asyncio.create_task(replica.poller.run())
    try:
        await until(lambda: clock.sleepers == 1)
        async with database.write() as connection:
            await connection.execute(text("ALTER TABLE changes_counter RENAME TO hidden"))
        for _ in range(3):
            clock.advance(changes.EVERY_S)
            await until(lambda: clock.sleepers == 1)
        assert len([record for record in caplog.records if "can't be read" in record.message]) == 1
        async with database.write() as connection:
            await connection.execute(text("ALTER TABLE hidden RENAME TO changes_counter"))
            await connection.execute(text("UPDATE changes SET at = 0"))
        clock.advance(61)

        async def is_empty() -> bool:
            async with database.read() as connection:
                return (await count(connection)) == 0

        await until(is_empty)
        assert await replica.memory.get("acme") == "free"
    finally:
        polling.cancel()
        await asyncio.wait([polling])


async def count(connection: AsyncConnection) -> int:
    return int((await connection.execute(text("SELECT count(*) FROM changes"))).scalar_one())
