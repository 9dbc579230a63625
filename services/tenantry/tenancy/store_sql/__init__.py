"""tenancy's store in SQLite or PostgreSQL: a module a noun, all on the connection of one transaction."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import changes
from tenantry.kit.changes import Remembers
from tenantry.kit.sql import Database
from tenantry.tenancy.records import Revocation
from tenantry.tenancy.store import REVOCATION_CHANGES
from tenantry.tenancy.store_sql.api_keys import SqlKeys
from tenantry.tenancy.store_sql.audit import SqlAudit
from tenantry.tenancy.store_sql.issuers import SqlIssuers
from tenantry.tenancy.store_sql.operations import SqlOperations
from tenantry.tenancy.store_sql.organisations import SqlOrganisations
from tenantry.tenancy.store_sql.revocations import SqlRevocations
from tenantry.tenancy.store_sql.signing_keys import SqlSigningKeys
from tenantry.tenancy.store_sql.tenants import SqlTenants

MIGRATIONS = "tenantry.tenancy.migrations"
# Any number will do, so long as it is tenancy's own.
_ALONE = text("SELECT pg_advisory_xact_lock(7063110414)")


class SqlTransaction:
    """`store.Transaction` on a connection. Changes are noted, and entered in the log when all else is done."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._changed: list[tuple[str, str]] = []
        self._revoked: list[Revocation] = []
        self.organisations = SqlOrganisations(connection)
        self.tenants = SqlTenants(connection, self._note, self._revoked.append)
        self.keys = SqlKeys(connection, self._note, self._revoked.append)
        self.issuers = SqlIssuers(connection, self._note, self._revoked.append)
        self.revocations = SqlRevocations(connection)
        self.operations = SqlOperations(connection)
        self.audit = SqlAudit(connection)
        self.signing_keys = SqlSigningKeys(connection, self._note)

    async def alone(self) -> None:
        # SQLite's writer is alone anyway.
        if self._connection.dialect.name == "postgresql":
            await self._connection.execute(_ALONE)

    async def enter_changes(self) -> None:
        """Writes what was noted; from here to the commit no other transaction can."""
        for kind, key in self._changed:
            await changes.record(self._connection, kind, key)
        for revoked in self._revoked:
            number = await changes.record(self._connection, REVOCATION_CHANGES, revoked.id)
            await self.revocations.enter(revoked, number)
            self._note(REVOCATION_CHANGES, revoked.id)

    @property
    def changed(self) -> tuple[tuple[str, str], ...]:
        """Kinds and keys of what this transaction changes."""
        return tuple(self._changed)

    def _note(self, kind: str, key: str) -> None:
        self._changed.append((kind, key))


class SqlStore:
    """`store.Store`; kit.sql maps the driver's errors."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._memories: tuple[Remembers, ...] = ()

    def keep_true(self, memories: Sequence[Remembers]) -> None:
        """Makes these memories drop what this process changes at once; the poller does it for what others change."""
        self._memories = tuple(memories)

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[SqlTransaction]:
        async with self._database.read() as connection:
            yield SqlTransaction(connection)

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[SqlTransaction]:
        async with self._database.write() as connection:
            transaction = SqlTransaction(connection)
            yield transaction
            await transaction.enter_changes()
        for kind, key in transaction.changed:
            for memory in self._memories:
                if memory.kind == kind:
                    memory.drop(key) if key else memory.drop_all()
