"""Runs a service's Alembic revisions, without an ini file or env.py: `kit.sql.migrate` is the door to it.

Revisions are the files `versions/<revision>_<words>.py` of a service's package, `0001`, `0002`, … in a line. Since the greatest
number is the head, a start that has nothing to do needs neither Alembic nor its import.
"""

import asyncio
import hashlib
import time
from importlib import resources
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import Connection

from tenantry.kit.errors import FailedPrecondition, Reason, StoreFailed, StoreUnavailable
from tenantry.kit.sql import Database

_VERSIONS = "versions"
_TABLE = "alembic_version"
_LONGEST_MIGRATION_S = 300


async def migrate(database: Database, package: str) -> None:
    """Bring the tables to the newest revision in `package`."""
    revisions = await asyncio.to_thread(_revisions, package)
    if not revisions:
        raise StoreFailed(f"the package {package} has no revisions in {_VERSIONS}/")
    end = time.monotonic() + _LONGEST_MIGRATION_S
    while not await _is_current(database, max(revisions)):
        try:
            async with database.write() as connection:
                await connection.run_sync(_upgrade, database, package, revisions)
        except StoreUnavailable:
            # SQLite's own wait for the process that migrates is shorter than a migration may be
            if not database.is_sqlite or time.monotonic() > end:
                raise


async def revisions(database: Database, package: str) -> tuple[str, str]:
    """The revision that the tables are at, "" when there are none, and the newest in `package`."""
    known = await asyncio.to_thread(_revisions, package)
    async with database.read() as connection:
        return await connection.run_sync(_version, database), max(known)


def _revisions(package: str) -> dict[str, Path]:
    """The files by their revision."""
    folder = Path(str(resources.files(package))) / _VERSIONS
    return {path.name.partition("_")[0]: path for path in folder.glob("[0-9]*_*.py")}


async def _is_current(database: Database, head: str) -> bool:
    async with database.read() as connection:
        return await connection.run_sync(_version, database) == head


def _version(connection: Connection, database: Database) -> str:
    """The revision that the tables are at, and "" when there are none."""
    if database.is_sqlite:
        exists = text(f"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '{_TABLE}'")
    else:
        exists = text(f"SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = '{_TABLE}'")
    if not connection.execute(exists).scalar_one():
        return ""
    return connection.execute(text(f"SELECT version_num FROM {_TABLE}")).scalar_one_or_none() or ""


def _upgrade(connection: Connection, database: Database, package: str, revisions: dict[str, Path]) -> None:
    """In one transaction under a lock that all replicas share: SQLite's is the write transaction itself."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    if not database.is_sqlite:
        _lock_postgres(connection, database.service)
    found = _version(connection, database)
    if found and found not in revisions:
        raise FailedPrecondition(
            Reason.STORE_UNFIT,
            f"the tables of {database.service} are at revision {found}, which this version of Tenantry does not know; "
            f"it knows up to {max(revisions)}: start a newer version",
        )
    folder = next(iter(revisions.values())).parent
    script = ScriptDirectory(str(folder), version_locations=[str(folder)])
    if script.get_heads() != [max(revisions)]:
        raise StoreFailed(f"the revisions of {package} are not one line that ends at {max(revisions)}")

    def upgrade(current: str, _context: object) -> object:
        return script._upgrade_revs("head", current)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    with EnvironmentContext(Config(), script, fn=upgrade) as environment:
        environment.configure(connection=connection, version_table=_TABLE)
        environment.run_migrations()


def _lock_postgres(connection: Connection, service: str) -> None:
    number = int.from_bytes(hashlib.sha256(f"tenantry migrate {service}".encode()).digest()[:8], signed=True)
    connection.execute(text(f"SET LOCAL statement_timeout = '{_LONGEST_MIGRATION_S}s'"))
    connection.execute(text(f"SET LOCAL lock_timeout = '{_LONGEST_MIGRATION_S}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})
    connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{service}"'))
