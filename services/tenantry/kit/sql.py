"""The one way to SQL: a bounded pool on SQLite or PostgreSQL, read and write transactions, and the mapping of their errors.

A URL is `sqlite:////path/to/service.db` or `postgresql://user@host/database`; on PostgreSQL a service's tables are in a schema
of its own. SQLite's writes begin IMMEDIATE and queue for one connection, so that a write never finds itself unable to upgrade
its lock; readers go on meanwhile (WAL), and what was committed is on disk (FULL).
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy import exc as driver
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tenantry.kit.errors import Conflict, FailedPrecondition, Reason, StoreFailed, StoreUnavailable, TenantryError

STORE = "sql"
# How long a transaction may wait for a connection or for another writer, and a statement for its end.
WAIT_S = 5.0
STATEMENT_S = 30.0


class Database:
    """A service's tables. Each transaction has a connection of the pool until it ends; nothing is committed on an error."""

    def __init__(self, url: str, service: str, *, connections: int = 4) -> None:
        self._url = _address(url)
        self._open = 0
        self._none_open = asyncio.Event()
        self._none_open.set()
        self.service = service
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            _prepare_file(self._url)
            self._reading = _sqlite(self._url, connections, writes=False)
            self._writing = _sqlite(self._url, 1, writes=True)
        else:
            self._writing = _postgres(self._url, service, connections)
            self._reading = self._writing.execution_options(**_ONE_SNAPSHOT)

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction that only reads, all of it at one moment."""
        async with self._transaction(self._reading) as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction that is committed at the end of the block, or rolled back if the block raises. Keep it short."""
        async with self._transaction(self._writing) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
        self._open += 1
        self._none_open.clear()
        try:
            async with self._connected(engine) as connection:
                yield connection
        finally:
            self._open -= 1
            if self._open == 0:
                self._none_open.set()

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
        connection = engine.connect()
        try:
            await connection.start()
        except Exception as error:  # connecting raises the network's own errors and the driver's, not only SQLAlchemy's
            raise _no_connection(error) from None
        try:
            async with connection.begin():
                yield connection
        except driver.SQLAlchemyError as error:
            raise translate(error) from None
        except OSError as error:
            # asyncpg's own time limit and broken sockets come out unwrapped, as builtin TimeoutError and OSError
            if self.is_sqlite:
                raise
            raise _no_connection(error) from None
        finally:
            await asyncio.shield(connection.close())

    async def close(self) -> None:
        """Close the pool's connections, once cancelled transactions have given theirs back: a pool that is gone closes none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                await self._none_open.wait()
        await self._reading.dispose()
        await self._writing.dispose()


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (driver.ArgumentError, ValueError):
        address = None
    if address is None or address.drivername.partition("+")[0] not in ("sqlite", "postgresql"):
        # Not shown: an address may hold a password.
        message = "the address of SQL is not one; it begins with sqlite:// or postgresql://"
        raise FailedPrecondition(Reason.STORE_UNFIT, message)
    return address


# PostgreSQL reads see one snapshot, as SQLite's do.
_ONE_SNAPSHOT: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


async def migrate(database: Database, package: str) -> None:
    """Bring the tables to the newest revision in `package` (`tenantry.<service>.migrations`), once among all who start at
    the same moment; FailedPrecondition if they are newer than this program knows."""
    from tenantry.kit import migrations

    await migrations.migrate(database, package)


def _sqlite(url: URL, connections: int, *, writes: bool) -> AsyncEngine:
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=WAIT_S,
        hide_parameters=True,
        connect_args={"factory": _RolledBack},
    )
    pragmas = ["synchronous=FULL", "foreign_keys=ON", f"busy_timeout={round(WAIT_S * 1000)}"]
    if not writes:
        pragmas.append("query_only=ON")

    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: `began` does
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def began(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine.sync_engine, "connect", connected)
    event.listen(engine.sync_engine, "begin", began)
    return engine


class _RolledBack(sqlite3.Connection):
    """A connection whose transaction ends when it is closed.

    SQLAlchemy closes the connection of a cancelled task while a statement may still be referenced. SQLite then keeps it open,
    and with it the lock of all writers, until the garbage collector finds the statement.
    """

    def close(self) -> None:
        # aiosqlite closes twice what a cancelled task used: closing again does nothing, but a closed one can't be asked.
        with suppress(sqlite3.ProgrammingError):
            if self.in_transaction:
                self.rollback()
        super().close()


def _prepare_file(url: URL) -> None:
    """Make the file, for this user alone, and its WAL mode, which the file remembers.

    Here, because two connections that switch the mode at once get "locked" without the busy timeout's wait.
    """
    import fcntl

    if not url.database or url.database == ":memory:":
        raise ValueError("SQLite needs a file: connections of a pool don't share a database in memory")
    path = Path(url.database)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(path, timeout=WAIT_S)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
    finally:
        os.close(lock)


def _postgres(url: URL, schema: str, connections: int) -> AsyncEngine:
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=WAIT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "timeout": WAIT_S,
            "command_timeout": STATEMENT_S + WAIT_S,  # only when the server does not answer at all
            "server_settings": {
                "search_path": schema,
                "application_name": f"tenantry-{schema}",
                "statement_timeout": str(round(STATEMENT_S * 1000)),
                "lock_timeout": str(round(WAIT_S * 1000)),
            },
        },
    )


def _no_connection(error: Exception) -> TenantryError:
    return translate(error) if isinstance(error, driver.SQLAlchemyError) else StoreUnavailable(STORE)


# What SQLite and PostgreSQL say when the same transaction may succeed later.
_SQLITE_TRANSIENT = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
_SQLITE_UNIQUE = ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID")
_POSTGRES_TRANSIENT = ("08", "25006", "40", "53", "55P03", "57", "58")
_POSTGRES_UNIQUE = "23505"

# SQLAlchemy's exceptions that do not come from the database, and whether the same call may succeed later; the others
# (DBAPIError and below) are told apart by the database's code. A test fails on a class that is neither.
TRANSIENT: dict[type[Exception], bool] = {
    driver.TimeoutError: True,  # no free connection in the pool
    driver.DisconnectionError: True,
    driver.InvalidRequestError: False,
    driver.ArgumentError: False,
    driver.CircularDependencyError: False,
    driver.CompileError: False,
    driver.IdentifierError: False,
    driver.SQLAlchemyError: False,
    driver.StatementError: False,
    driver.EmulatedDBAPIException: False,
}


def translate(error: Exception) -> TenantryError:
    """The one mapping from SQLAlchemy's exceptions. Their words stay out: they quote statements and rows."""
    if isinstance(error, driver.DBAPIError):
        return _translate_database(error)
    if next((TRANSIENT[ancestor] for ancestor in type(error).__mro__ if ancestor in TRANSIENT), False):
        return StoreUnavailable(STORE)
    return StoreFailed(f"{STORE}: {type(error).__name__}")


def _translate_database(error: driver.DBAPIError) -> TenantryError:
    code = database_code(error)
    if code in _SQLITE_UNIQUE or code == _POSTGRES_UNIQUE:
        return Conflict()
    transient = _SQLITE_TRANSIENT if code.startswith("SQLITE") else _POSTGRES_TRANSIENT
    if error.connection_invalidated or (code and code.startswith(transient)):
        return StoreUnavailable(STORE)
    if not code and isinstance(error, driver.InterfaceError):  # the connection was closed under the statement
        return StoreUnavailable(STORE)
    return StoreFailed(f"{STORE}: {type(error).__name__} {code}".rstrip())


def database_code(error: driver.DBAPIError) -> str:
    """The database's own code: SQLITE_BUSY and the like, or PostgreSQL's five characters; "" when there is none."""
    for cause in (error.orig, getattr(error.orig, "__cause__", None)):
        code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
        if code:
            return str(code)
    return ""
