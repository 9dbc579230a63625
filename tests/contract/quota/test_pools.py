"""Pools on SQLite and PostgreSQL."""

from collections.abc import AsyncIterator, Sequence

import pytest

from tenantry.kit.audit import Record
from tenantry.kit.audit_outbox import Sender
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import Aborted
from tenantry.kit.owner import Pool
from tenantry.kit.sql import Database, migrate
from tenantry.quota.slot import PoolSettings
from tenantry.quota.store_sql_pools import SqlPools


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    database = Database(sql_url, "quota")
    await migrate(database, "tenantry.quota.migrations")
    try:
        yield database
    finally:
        await database.close()


async def test_each_change_of_a_pool_is_in_the_audit_log_with_what_was_and_what_is(database: Database) -> None:
    pools, pool, told = SqlPools(database), Pool("openai:gpt"), list[tuple[str, str]]()

    async def deliver(records: Sequence[Record]) -> None:
        told.extend((record.action, record.subject) for record in records)

    assert await pools.put(pool, PoolSettings(capacity=8), 0) == 1
    assert await pools.put(pool, PoolSettings(capacity=9, adaptive=True), 1) == 2
    for old in (0, 1):
        with pytest.raises(Aborted):
            await pools.put(pool, PoolSettings(), old)
    await Sender(database, deliver, SystemClock()).send()
    assert told == [
        ("UpdatePool", "openai:gpt:capacity=256>8"),
        ("UpdatePool", "openai:gpt:capacity=8>9,adaptive=False>True"),
    ]
