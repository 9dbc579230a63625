"""Claims on background jobs, on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tenantry.kit import claims
from tenantry.kit.sql import Database, migrate
from tests.harness.poll import until
from tests.harness.schema import write_package


@pytest.fixture
async def database(sql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    database = Database(sql_url, "probe")
    await migrate(database, write_package(tmp_path / "packages", monkeypatch, ["claims.create_tables(op.get_bind())"]))
    yield database
    await database.close()


async def claim(database: Database, holder: str, ttl_s: float = 60.0, name: str = "job") -> bool:
    async with database.write() as connection:
        return await claims.claim(connection, name, holder, ttl_s)


async def renew(database: Database, holder: str, ttl_s: float = 60.0) -> bool:
    async with database.write() as connection:
        return await claims.renew(connection, "job", holder, ttl_s)


async def release(database: Database, holder: str) -> bool:
    async with database.write() as connection:
        return await claims.release(connection, "job", holder)


async def test_a_job_has_one_holder_and_he_may_claim_it_again(database: Database) -> None:
    assert await claim(database, "a")
    assert not await claim(database, "b")
    assert await claim(database, "a")
    assert await claim(database, "b", name="another job")


async def test_of_many_who_claim_at_once_one_gets_it(database: Database) -> None:
    got = await asyncio.gather(*(claim(database, f"holder{number}") for number in range(10)))
    assert sum(got) == 1


async def test_a_claim_ends_by_itself_and_then_is_anybodys(database: Database) -> None:
    assert await claim(database, "a", ttl_s=0.1)
    await until(lambda: claim(database, "b"), within_s=3.0)
    assert not await renew(database, "a")
    assert not await release(database, "a")
    assert await renew(database, "b")


async def test_an_ended_claim_can_not_be_renewed_even_if_nobody_took_it(database: Database) -> None:
    assert await claim(database, "a", ttl_s=0.0)
    assert not await renew(database, "a")


async def test_renewing_moves_the_end(database: Database) -> None:
    assert await claim(database, "a", ttl_s=30.0)
    assert await renew(database, "a", ttl_s=1000.0)
    async with database.read() as connection:
        ends_at = (await connection.execute(text("SELECT ends_at FROM claims"))).scalar_one()
        query = "SELECT ends_at - extract(epoch FROM clock_timestamp()) FROM claims"
        if database.is_sqlite:
            query = "SELECT ends_at - (julianday('now') - 2440587.5) * 86400.0 FROM claims"
        assert ends_at > 0
        assert 990 < float((await connection.execute(text(query))).scalar_one()) <= 1000


async def test_only_the_holder_renews_and_releases(database: Database) -> None:
    assert await claim(database, "a")
    assert not await renew(database, "b")
    assert not await release(database, "b")
    assert await release(database, "a")
    assert await claim(database, "b")
