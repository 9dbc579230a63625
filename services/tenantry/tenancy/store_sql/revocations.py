"""Who was revoked, in SQL. The row of a key or tenant moves to its newest number, so there are no more than of those."""

from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import owner
from tenantry.kit.clock import SystemClock
from tenantry.tenancy.records import Revocation, TenantState
from tenantry.tenancy.store_sql.tables import revocations


class SqlRevocations:
    """`store.Revocations` in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def enter(self, revocation: Revocation, number: int) -> None:
        """At its number in the change log, whose lock is held."""
        new: Any = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        values = {
            "generation": revocation.generation,
            "state": revocation.state.value if revocation.state else "",
            "number": number,
            "at_ns": SystemClock().now_ns(),
        }
        row = new(revocations).values(kind=revocation.kind, id=revocation.id, **values)
        row = row.on_conflict_do_update(index_elements=[revocations.c.kind, revocations.c.id], set_=values)
        await self._connection.execute(row)

    async def after(self, owner: owner.Platform, number: int, most: int) -> tuple[Revocation, ...]:
        query = select(revocations).where(revocations.c.number > number).order_by(revocations.c.number).limit(most)
        return tuple(_revocation(row) for row in await self._connection.execute(query))

    async def trim(self, owner: owner.Platform, before_ns: int) -> None:
        await self._connection.execute(delete(revocations).where(revocations.c.at_ns < before_ns))


def _revocation(row: Row[Any]) -> Revocation:
    state = TenantState(row.state) if row.state else None
    return Revocation(row.kind, row.id, row.generation, state, row.number)
