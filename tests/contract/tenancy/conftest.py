"""tenancy's store on each kind of database."""

from collections.abc import AsyncIterator

import pytest

from tenantry.kit.sql import Database, migrate
from tenantry.tenancy.store_sql import MIGRATIONS, SqlStore


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    database = Database(sql_url, "tenancy")
    try:
        await migrate(database, MIGRATIONS)
        yield database
    finally:
        await database.close()


@pytest.fixture
def store(database: Database) -> SqlStore:
    return SqlStore(database)
