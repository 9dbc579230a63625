"""Audit logs in SQL. The last number and hash of a log are a row that an append locks, so numbers have no gaps."""

from typing import Any

from sqlalchemy import Row, RowMapping, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import owner
from tenantry.tenancy import audit_bound, audit_chain
from tenantry.tenancy.audit_bound import Minute
from tenantry.tenancy.records import AuditEntry, AuditEvent, AuditHead
from tenantry.tenancy.store_sql.tables import audit_events, audit_logs


class SqlAudit:
    """`store.Audit` in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def append(self, owner: owner.Owner, entry: AuditEntry) -> AuditEvent:
        log = log_of(owner)
        last = await self._last(log)
        return await self._append(AuditHead(log, last.number, bytes(last.hash)), entry, None)

    async def enter(self, owner: owner.Owner, entry: AuditEntry, record: str, now_ns: int) -> bool:
        log = log_of(owner)
        last = await self._last(log)  # Its lock comes first: the same record, delivered twice at once, comes in turn.
        known = select(audit_events.c.number).where(audit_events.c.record == record)
        if (await self._connection.execute(known)).first() is not None:
            return False
        head = AuditHead(log, last.number, bytes(last.hash))
        if entry.outcome == "OK":
            await self._append(head, entry, record)
            return True
        before = Minute(last.minute, last.refusals, last.others)
        summary, after = audit_bound.next_refusal(before, entry, now_ns)
        if summary is not None:
            event = await self._append(head, summary, None)
            head = AuditHead(log, event.number, event.hash)
        if after.others == 0:
            await self._append(head, entry, record)
        counted = update(audit_logs).where(audit_logs.c.log == log)
        await self._connection.execute(
            counted.values(minute=after.minute, refusals=after.refusals, others=after.others)
        )
        return after.others == 0

    async def head(self, owner: owner.Owner) -> AuditHead:
        log = log_of(owner)
        last = (await self._connection.execute(select(audit_logs).where(audit_logs.c.log == log))).first()
        return AuditHead(log, last.number, bytes(last.hash)) if last else AuditHead(log, 0, audit_chain.START)

    async def list(self, owner: owner.Owner, before: int | None, most: int) -> tuple[AuditEvent, ...]:
        query = select(audit_events).where(audit_events.c.log == log_of(owner))
        if before is not None:
            query = query.where(audit_events.c.number < before)
        rows = await self._connection.execute(query.order_by(audit_events.c.number.desc()).limit(most))
        return tuple(_event(row) for row in rows.mappings())

    async def list_from(self, owner: owner.Owner, number: int, most: int) -> tuple[AuditEvent, ...]:
        query = select(audit_events).where(audit_events.c.log == log_of(owner), audit_events.c.number >= number)
        rows = await self._connection.execute(query.order_by(audit_events.c.number).limit(most))
        return tuple(_event(row) for row in rows.mappings())

    async def _append(self, head: AuditHead, entry: AuditEntry, record: str | None) -> AuditEvent:
        number = head.number + 1
        digest = audit_chain.link(head.log, head.hash, number, entry)
        values = {
            "log": head.log,
            "number": number,
            "time_ns": entry.time_ns,
            "principal": entry.principal,
            "action": entry.action,
            "subject": entry.subject,
            "outcome": entry.outcome,
            "service": entry.service,
            "reason": entry.reason,
            "count": entry.count,
            "hash": digest,
            "record": record,
        }
        await self._connection.execute(insert(audit_events).values(values))
        moved = update(audit_logs).where(audit_logs.c.log == head.log).values(number=number, hash=digest)
        await self._connection.execute(moved)
        return AuditEvent(number, entry, digest)

    async def _last(self, log: str) -> Row[Any]:
        """The log's row, locked until the transaction ends."""
        new: Any = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        first = new(audit_logs).values(log=log, number=0, hash=audit_chain.START, minute=0, refusals=0, others=0)
        await self._connection.execute(first.on_conflict_do_nothing(index_elements=[audit_logs.c.log]))
        locked = select(audit_logs).where(audit_logs.c.log == log).with_for_update()
        return (await self._connection.execute(locked)).one()


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


def _event(row: RowMapping) -> AuditEvent:
    names = ("time_ns", "principal", "action", "subject", "outcome", "service", "reason", "count")
    return AuditEvent(int(row["number"]), AuditEntry(*(row[name] for name in names)), bytes(row["hash"]))
