"""Settlements that wait for the books, in SQL: a row a reservation."""

from collections.abc import Sequence

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    delete,
    insert,
    or_,
    select,
    update,
)

from tenantry.kit.clock import Clock
from tenantry.kit.errors import Conflict
from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.sql import Database
from tenantry.quota.codec import read_settled, write_settled
from tenantry.quota.entries import Settled

_late = Table(
    "late_settlements",
    MetaData(),
    Column("reservation", Text, primary_key=True),
    Column("estimated", Boolean, nullable=False),
    Column("put_at", Double, nullable=False),
    Column("entry", LargeBinary, nullable=False),
)


class SqlLateSettlements:
    """On SQLite or PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def put(self, owner: Tenant, settled: Settled) -> bool:
        values = {"estimated": settled.estimated, "put_at": self._clock.now(), "entry": write_settled(settled)}
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(_late).values(reservation=settled.reservation, **values))
            return True
        except Conflict:
            if settled.estimated:
                return False
        estimate = and_(_late.c.reservation == settled.reservation, _late.c.estimated)
        async with self._database.write() as connection:
            return (await connection.execute(update(_late).where(estimate).values(**values))).rowcount == 1

    async def page(self, owner: Platform, estimates_before: float, size: int) -> Sequence[Settled]:
        ripe = or_(_late.c.estimated.is_(False), _late.c.put_at < estimates_before)
        query = select(_late.c.entry).where(ripe).order_by(_late.c.put_at).limit(size)
        async with self._database.read() as connection:
            return [read_settled(entry, 0) for entry in (await connection.execute(query)).scalars()]

    async def drop(self, owner: Platform, settled: Sequence[Settled]) -> None:
        if not settled:
            return
        async with self._database.write() as connection:
            for estimated in (False, True):
                these = [one.reservation for one in settled if one.estimated == estimated]
                where = and_(_late.c.reservation.in_(these), _late.c.estimated == estimated)
                await connection.execute(delete(_late).where(where))
