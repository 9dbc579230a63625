"""kit.sql on SQLite and PostgreSQL: transactions, migrations and the mapping of errors."""

import asyncio
import inspect
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy.exc
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import sql
from tenantry.kit.errors import Conflict, FailedPrecondition, StoreFailed, StoreUnavailable
from tenantry.kit.sql import Database, migrate
from tests.harness.schema import write_package

METADATA = MetaData()
NOTES = Table("notes", METADATA, Column("id", Integer, primary_key=True), Column("note", Text, nullable=False))
CREATE_NOTES = (
    'op.create_table("notes", sa.Column("id", sa.Integer, primary_key=True), '
    'sa.Column("note", sa.Text, nullable=False))'
)
ADD_COLUMN = 'op.add_column("notes", sa.Column("colour", sa.Text))'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return write_package(tmp_path / "packages", monkeypatch, [CREATE_NOTES])


@pytest.fixture
async def database(sql_url: str, package: str) -> AsyncIterator[Database]:
    database = Database(sql_url, "probe", connections=4)
    await migrate(database, package)
    yield database
    await database.close()


async def notes(connection: AsyncConnection) -> list[str]:
    return list((await connection.execute(select(NOTES.c.note).order_by(NOTES.c.id))).scalars())


async def test_what_a_write_leaves_is_there_for_readers(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(NOTES).values(id=1, note="kept"))
    async with database.read() as connection:
        assert await notes(connection) == ["kept"]


async def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(LookupError):
        async with database.write() as connection:
            await connection.execute(insert(NOTES).values(id=1, note="gone"))
            raise LookupError
    async with database.read() as connection:
        assert await notes(connection) == []


async def test_a_write_that_is_cancelled_leaves_nothing_and_blocks_nobody(database: Database) -> None:
    inside = asyncio.Event()

    async def hang() -> None:
        async with database.write() as connection:
            await connection.execute(insert(NOTES).values(id=1, note="gone"))
            inside.set()
            await asyncio.Event().wait()

    for _ in range(10):  # more often than there are connections
        inside.clear()
        task = asyncio.create_task(hang())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with database.write() as connection:
        await connection.execute(insert(NOTES).values(id=1, note="kept"))
    async with database.read() as connection:
        assert await notes(connection) == ["kept"]


async def test_writes_cancelled_at_any_point_leave_the_pool_whole(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.write() as connection:
            await connection.execute(insert(NOTES).values(id=number, note="x"))

    for number in range(60):
        task = asyncio.create_task(write(number))
        for _ in range(number % 30):
            await asyncio.sleep(0.0002)
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(3):
        for number in range(1000, 1010):
            await write(number)


async def test_a_read_sees_one_moment(database: Database) -> None:
    async with database.read() as reading:
        assert await notes(reading) == []
        async with database.write() as connection:
            await connection.execute(insert(NOTES).values(id=1, note="later"))
        assert await notes(reading) == []


async def test_a_read_can_not_write(database: Database) -> None:
    with pytest.raises((StoreFailed, StoreUnavailable)):
        async with database.read() as connection:
            await connection.execute(insert(NOTES).values(id=1, note="x"))
    async with database.write() as connection:
        assert await notes(connection) == []


async def test_writers_at_the_same_time_lose_no_update(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(NOTES).values(id=1, note="0"))

    async def raise_by_one() -> None:
        async with database.write() as connection:
            row = select(NOTES.c.note).where(NOTES.c.id == 1).with_for_update()
            number = int((await connection.execute(row)).scalar_one())
            await connection.execute(update(NOTES).where(NOTES.c.id == 1).values(note=str(number + 1)))

    await asyncio.gather(*(raise_by_one() for _ in range(30)))
    async with database.read() as connection:
        assert await notes(connection) == ["30"]


async def test_a_second_row_with_a_unique_value_is_a_conflict(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(NOTES).values(id=1, note="first"))
    with pytest.raises(Conflict):
        async with database.write() as connection:
            await connection.execute(insert(NOTES).values(id=1, note="second"))


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO notes (id, note) VALUES (1, NULL)", "INSERT INTO nowhere VALUES ('CANARY')", "SELECT 'CANARY' FROM"],
)
async def test_a_statement_that_is_wrong_is_a_fault_of_ours_and_its_words_stay_out(
    database: Database, statement: str
) -> None:
    with pytest.raises(StoreFailed) as failed:
        async with database.write() as connection:
            await connection.execute(text(statement))
    assert "CANARY" not in str(failed.value) and failed.value.__suppress_context__


async def test_a_pool_with_no_free_connection_is_unavailable_after_a_limited_time(
    sql_url: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "WAIT_S", 0.2)
    narrow = Database(sql_url, "probe", connections=1)
    async with narrow.write():
        with pytest.raises(StoreUnavailable):
            async with narrow.write():
                pass
    async with narrow.write():
        pass
    await narrow.close()


async def test_two_services_on_one_postgres_do_not_see_each_others_tables(postgres_url: str, package: str) -> None:
    one, other = Database(postgres_url, "one"), Database(postgres_url, "other")
    await migrate(one, package)
    with pytest.raises(StoreFailed):
        async with other.read() as connection:
            await notes(connection)
    await migrate(other, package)
    async with one.write() as connection:
        await connection.execute(insert(NOTES).values(id=1, note="mine"))
    async with other.read() as connection:
        assert await notes(connection) == []
    await one.close()
    await other.close()


async def test_a_postgres_that_is_not_there_is_unavailable() -> None:
    nowhere = Database("postgresql://tenantry@127.0.0.1:1/nothing", "probe")
    with pytest.raises(StoreUnavailable):
        async with nowhere.read():
            pass
    await nowhere.close()


async def test_a_postgres_session_that_is_cut_is_unavailable_once(postgres_url: str, package: str) -> None:
    database = Database(postgres_url, "cut")
    await migrate(database, package)
    with pytest.raises(StoreUnavailable):
        async with database.write() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    async with database.read() as connection:
        assert await notes(connection) == []
    await database.close()


async def test_sqlite_is_durable_private_and_checks_foreign_keys(tmp_path: Path) -> None:
    path = tmp_path / "new" / "service.db"
    database = Database(f"sqlite:///{path}", "probe")
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    async with database.write() as connection:
        for pragma, value in expected.items():
            assert (await connection.execute(text(f"PRAGMA {pragma}"))).scalar_one() == value
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    await database.close()


async def test_sqlite_waits_for_another_processs_writer_and_then_says_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "WAIT_S", 0.2)
    database = Database(f"sqlite:///{tmp_path / 'shared.db'}", "probe")
    other = sqlite3.connect(tmp_path / "shared.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        async with database.write():
            pass
    other.execute("COMMIT")
    async with database.write():
        pass
    other.close()
    await database.close()


async def test_migrations_are_run_once_by_many_who_start_at_once(sql_url: str, package: str) -> None:
    starters = [Database(sql_url, "probe") for _ in range(5)]
    await asyncio.gather(*(migrate(starter, package) for starter in starters))
    async with starters[0].write() as connection:
        assert await notes(connection) == []
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalars().all() == ["0001"]
    for starter in starters:
        await starter.close()


async def test_sqlite_migrations_are_run_once_by_many_processes(tmp_path: Path, package: str) -> None:
    program = (
        "import asyncio, sys; from tenantry.kit.sql import Database, migrate\n"
        "asyncio.run(migrate(Database(sys.argv[1], 'probe'), sys.argv[2]))"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'shared.db'}", package]
    runs = [asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True) for _ in range(3)]
    for done in await asyncio.gather(*runs):
        assert done.returncode == 0, done.stderr.decode()[-2000:]


async def test_later_migrations_keep_what_is_there(
    sql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(sql_url, "probe")
    await migrate(database, write_package(tmp_path / "old", monkeypatch, [CREATE_NOTES]))
    async with database.write() as connection:
        await connection.execute(insert(NOTES).values(id=1, note="kept"))
    await migrate(database, write_package(tmp_path / "new", monkeypatch, [CREATE_NOTES, ADD_COLUMN]))
    async with database.read() as connection:
        assert (await connection.execute(text("SELECT note, colour FROM notes"))).all() == [("kept", None)]
    await database.close()


async def test_a_migration_that_fails_leaves_the_tables_as_they_were(
    sql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(sql_url, "probe")
    broken = write_package(tmp_path / "broken", monkeypatch, [CREATE_NOTES, ADD_COLUMN + '\nop.execute("NONSENSE")'])
    with pytest.raises(StoreFailed):
        await migrate(database, broken)
    with pytest.raises(StoreFailed):
        async with database.read() as connection:
            await notes(connection)
    await migrate(database, write_package(tmp_path / "right", monkeypatch, [CREATE_NOTES, ADD_COLUMN]))
    await database.close()


async def test_tables_newer_than_the_program_are_refused_in_one_sentence(
    sql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(sql_url, "probe")
    await migrate(database, write_package(tmp_path / "new", monkeypatch, [CREATE_NOTES, ADD_COLUMN]))
    with pytest.raises(FailedPrecondition) as refused:
        await migrate(database, write_package(tmp_path / "old", monkeypatch, [CREATE_NOTES]))
    assert refused.value.message == (
        "the tables of probe are at revision 0002, which this version of Tenantry does not know; "
        "it knows up to 0001: start a newer version"
    )
    await database.close()


async def test_a_package_without_revisions_is_a_fault(
    sql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(sql_url, "probe")
    with pytest.raises(StoreFailed):
        await migrate(database, write_package(tmp_path / "empty", monkeypatch, []))
    await database.close()


def test_alembic_is_not_imported_with_the_kit() -> None:
    program = "import sys, tenantry.kit.sql, tenantry.kit.migrations, tenantry.kit.changes; assert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


def test_every_exception_of_sqlalchemy_is_mapped() -> None:
    classes = [
        value
        for _, value in inspect.getmembers(sqlalchemy.exc, inspect.isclass)
        if issubclass(value, Exception) and not issubclass(value, Warning) and value.__module__ == "sqlalchemy.exc"
    ]
    by_code = [cls for cls in classes if issubclass(cls, sqlalchemy.exc.DBAPIError)]
    assert len(by_code) == 9, "a new class of database errors: does its code tell what it means?"
    # Each other class, or the nearest of its ancestors below SQLAlchemyError, has an entry.
    roots = set(sql.TRANSIENT) - {sqlalchemy.exc.SQLAlchemyError}
    unmapped = [
        cls for cls in classes if cls not in by_code and cls not in sql.TRANSIENT and not roots & set(cls.__mro__)
    ]
    assert unmapped == []
