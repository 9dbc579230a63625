"""What administrators changed, on its way to tenancy's audit logs: a table that is written in the changing transaction.

So no change that was acknowledged is missing from the log. The sender delivers rows at least once and deletes them then;
tenancy enters each once, by its id.
"""

import logging
from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, MetaData, RowMapping, Table, Text, delete, func, insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import caller
from tenantry.kit.audit import AT_ONCE, Deliver, Record, ids_of
from tenantry.kit.clock import Clock, SystemClock
from tenantry.kit.errors import Reason, TenantryError, Unavailable
from tenantry.kit.ids import new_id
from tenantry.kit.owner import Owner, owner_by
from tenantry.kit.sql import Database

log = logging.getLogger(__name__)

# Changes that wait. No further one is made before tenancy took some: one that is not in the log must not be made.
MOST = 10_000
_EVERY_S = 1.0
_metadata = MetaData()
_outbox = Table(
    "audit_outbox",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("organisation", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("principal", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
)


def create_tables(connection: Connection) -> None:
    """The table, for a service's migration: `audit_outbox.create_tables(op.get_bind())`."""
    _metadata.create_all(connection, checkfirst=False)


async def append(
    connection: AsyncConnection, whose: Owner, action: str, subject: str, *, clock: Clock | None = None
) -> None:
    """Say, in the transaction that does it, what the current caller does by the RPC `action` to the thing `subject`."""
    waiting = (await connection.execute(select(func.count()).select_from(_outbox))).scalar_one()
    if waiting >= MOST:
        raise Unavailable(
            Reason.SERVICE_UNAVAILABLE, "the audit log takes no entries now", retry_after_s=5.0, service="tenancy"
        )
    who = caller.current_or_none()
    organisation, tenant = ids_of(whose)
    row = {
        "id": new_id("change"),
        "organisation": organisation,
        "tenant": tenant,
        "time_ns": (clock or SystemClock()).now_ns(),
        "principal": who.principal if who else "",
        "action": action,
        "subject": subject,
    }
    await connection.execute(insert(_outbox).values(row))


class Sender:
    """Delivers what waits. `run` goes into the room's background tasks, in every replica: what comes twice changes nothing."""

    def __init__(self, database: Database, deliver: Deliver, clock: Clock) -> None:
        self._database = database
        self._deliver = deliver
        self._clock = clock

    async def run(self) -> None:
        """Delivers for ever. A spell of failures is logged once."""
        failing = False
        while True:
            try:
                while await self.send():
                    pass
                failing = False
            except TenantryError as error:
                if not failing:
                    log.warning("changes wait for the audit log: %s", error.message)
                failing = True
            await self._clock.sleep(_EVERY_S)

    async def send(self) -> int:
        """Delivers the oldest that wait; how many."""
        async with self._database.read() as connection:
            oldest = select(_outbox).order_by(_outbox.c.time_ns, _outbox.c.id).limit(AT_ONCE)
            rows = (await connection.execute(oldest)).mappings().all()
        if rows:
            await self._deliver([_record(row) for row in rows])
            await self._forget([row["id"] for row in rows])
        return len(rows)

    async def _forget(self, ids: Sequence[str]) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(_outbox).where(_outbox.c.id.in_(ids)))


def _record(row: RowMapping) -> Record:
    whose = owner_by(row["organisation"], row["tenant"])
    return Record(row["id"], whose, row["time_ns"], row["principal"], row["action"], row["subject"])
