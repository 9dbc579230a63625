"""Audit logs in SQL. The last number and hash of a log are a row that an append locks, so numbers have no gaps."""

from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import owner
from tenantry.tenancy import audit_chain
from tenantry.tenancy.records import AuditEntry, AuditEvent
from tenantry.tenancy.store_sql.tables import audit_events, audit_logs


class SqlAudit:
    """`store.Audit` in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def append(self, owner: owner.Owner, entry: AuditEntry) -> AuditEvent:
        log = log_of(owner)
        last_number, last_hash = await self._last(log)
        number = last_number + 1
        digest = audit_chain.link(log, last_hash, number, entry)
        values = {
            "log": log,
            "number": number,
            "time_ns": entry.time_ns,
            "principal": entry.principal,
            "action": entry.action,
            "subject": entry.subject,
            "outcome": entry.outcome,
            "hash": digest,
        }
        await self._connection.execute(insert(audit_events).values(values))
        await self._connection.execute(
            update(audit_logs).where(audit_logs.c.log == log).values(number=number, hash=digest)
        )
        return AuditEvent(number, entry, digest)

    async def list(self, owner: owner.Owner, before: int | None, most: int) -> tuple[AuditEvent, ...]:
        query = select(audit_events).where(audit_events.c.log == log_of(owner))
        if before is not None:
            query = query.where(audit_events.c.number < before)
        rows = await self._connection.execute(query.order_by(audit_events.c.number.desc()).limit(most))
        return tuple(_event(row) for row in rows)

    async def _last(self, log: str) -> tuple[int, bytes]:
        """The last number and hash, locked until the transaction ends."""
        new: Any = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        first = new(audit_logs).values(log=log, number=0, hash=audit_chain.START)
        await self._connection.execute(first.on_conflict_do_nothing(index_elements=[audit_logs.c.log]))
        locked = select(audit_logs.c.number, audit_logs.c.hash).where(audit_logs.c.log == log).with_for_update()
        row = (await self._connection.execute(locked)).one()
        return int(row.number), bytes(row.hash)


def log_of(whose: owner.Owner) -> str:
    """The name of an owner's log. Ids hold no colon, so no two owners share one."""
    match whose:
        case owner.Tenant():
            return f"tenant:{whose.id}"
        case owner.Organisation():
            return f"organisation:{whose.id}"
        case owner.Platform():
            return "platform"
        case owner.Pool():
            raise TypeError("a pool has no audit log")


def _event(row: Row[Any]) -> AuditEvent:
    entry = AuditEntry(row.time_ns, row.principal, row.action, row.subject, row.outcome)
    return AuditEvent(int(row.number), entry, bytes(row.hash))
