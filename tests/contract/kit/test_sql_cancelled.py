"""A transaction whose task is cancelled at any moment leaves nothing behind: no rows, and no lock."""

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from tenantry.kit.sql import Database, _RolledBack, migrate
from tests.harness.poll import until
from tests.harness.schema import write_package


async def test_a_cancelled_write_does_not_lock_out_the_next(
    sql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = 'op.create_table("notes", sa.Column("text", sa.Text))'
    database = Database(sql_url, "notes")
    await migrate(database, write_package(tmp_path, monkeypatch, [create]))

    async def write(note: str) -> None:
        async with database.write() as connection:
            for _ in range(5):
                await connection.execute(text("INSERT INTO notes VALUES (:note) RETURNING text"), {"note": note})

    longest_s = 0.0
    try:
        for number in range(60):
            task = asyncio.create_task(write("cancelled"))
            await asyncio.sleep(0.0001 * number)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            started = time.monotonic()
            await write("kept")
            longest_s = max(longest_s, time.monotonic() - started)
        async with database.read() as connection:
            counted = await connection.execute(text("SELECT text, count(*) FROM notes GROUP BY text"))
            notes = {str(row[0]): int(row[1]) for row in counted}
    finally:
        await database.close()
    assert notes["kept"] == 300 and notes.get("cancelled", 0) % 5 == 0
    assert longest_s < 2.0


def test_a_connection_that_is_closed_may_be_closed_again(tmp_path: Path) -> None:
    """What aiosqlite does with that of a cancelled task; the fault would be an exception that nobody waits for."""
    connection = sqlite3.connect(tmp_path / "file.db", factory=_RolledBack)
    connection.execute("BEGIN IMMEDIATE")
    connection.close()
    connection.close()


async def test_what_cancelled_transactions_give_back_is_closed_with_the_database(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/service.db", "notes")
    before = threading.active_count()

    async def read() -> None:
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.Event().wait()

    reading = [asyncio.create_task(read()) for _ in range(3)]
    await until(lambda: threading.active_count() == before + 3)
    for task in reading:
        task.cancel()
    await database.close()
    # The driver has a thread a connection.
    await until(lambda: threading.active_count() == before)
