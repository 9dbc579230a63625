"""Organisations in SQL."""

from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import owner
from tenantry.tenancy.paging import Page
from tenantry.tenancy.records import Organisation
from tenantry.tenancy.store_sql.tables import organisations


class SqlOrganisations:
    """`store.Organisations` in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, owner: owner.Organisation, organisation: Organisation) -> None:
        values = {
            "id": owner.id,
            "display_name": organisation.display_name,
            "created_ns": organisation.created_ns,
            "version": organisation.version,
        }
        await self._connection.execute(insert(organisations).values(values))

    async def get(self, owner: owner.Organisation) -> Organisation | None:
        row = (await self._connection.execute(select(organisations).where(organisations.c.id == owner.id))).first()
        return _organisation(row) if row else None

    async def list(self, owner: owner.Platform | owner.Organisation, page: Page) -> tuple[Organisation, ...]:
        query = select(organisations).where(organisations.c.id > page.after)
        if owner != _PLATFORM:
            query = query.where(organisations.c.id == getattr(owner, "id", None))
        rows = await self._connection.execute(query.order_by(organisations.c.id).limit(page.size + 1))
        return tuple(_organisation(row) for row in rows)


_PLATFORM = owner.Platform()


def _organisation(row: Row[Any]) -> Organisation:
    return Organisation(row.id, row.display_name, row.created_ns, row.version)
