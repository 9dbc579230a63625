"""Traces in SQL: each tenant's spans, and a row a trace that lists and limits read, kept in the same transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, case, column, delete, func, or_, select, table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.insight.spans import Position, Span, Trace, is_older_root
from tenantry.insight.store_sql.tables import SPANS, TRACES
from tenantry.kit import changes, tenants
from tenantry.kit.clock import Clock
from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.sql import Database

_TENANTS = table("tenants", column("tenant"))
_SPAN = tuple(Span.__dataclass_fields__)
_TRACE = tuple(Trace.__dataclass_fields__)
_OF_ROOT = ("name", "is_child", "start_ns", "duration_ns", "failed")
_Key = tuple[str, str]


class SqlTraces:
    """Traces on SQLite or PostgreSQL. Of a trace that has `in_trace` spans, further ones are not kept."""

    def __init__(self, database: Database, clock: Clock, in_trace: int) -> None:
        self._database = database
        self._clock = clock
        self._in_trace = in_trace

    async def add_tenant(self, owner: Tenant, tier: str) -> bool:
        async with self._database.write() as connection:
            return await tenants.add(connection, owner, tier)

    async def remove_tenant(self, owner: Tenant) -> bool:
        async with self._database.write() as connection:
            return await tenants.remove(connection, owner)

    async def add(self, owner: Platform, found: Sequence[Span]) -> int:
        async with self._database.write() as connection:
            served = await _served(connection, {span.tenant for span in found})
            spans = _once(span for span in found if span.tenant in served)
            spans = await self._with_room(connection, spans)
            if not spans:
                return 0
            insert = _insert(connection)
            added = insert(SPANS).on_conflict_do_nothing().returning(SPANS.c.tenant, SPANS.c.trace_id, SPANS.c.span_id)
            new = {tuple(row) for row in await connection.execute(added, [_row(span) for span in spans])}
            fresh = [span for span in spans if (span.tenant, span.trace_id, span.span_id) in new]
            if fresh:
                await connection.execute(_summarising(insert), _summaries(fresh, self._clock.now()))
        return len(fresh)

    async def find(self, owner: Tenant, trace_id: str) -> tuple[Trace, Sequence[Span]] | None:
        async with self._database.read() as connection:
            row = await _first(connection, _owned(owner).where(TRACES.c.trace_id == trace_id))
            if row is None:
                newest = TRACES.c.start_ns.desc()
                row = await _first(connection, _owned(owner).where(TRACES.c.request_id == trace_id).order_by(newest))
            if row is None:
                return None
            mine = and_(SPANS.c.tenant == owner.id, SPANS.c.trace_id == row["trace_id"])
            query = select(SPANS).where(mine).order_by(SPANS.c.start_ns, SPANS.c.span_id).limit(self._in_trace)
            spans = [_span(one) for one in (await connection.execute(query)).mappings()]
        return replace(_trace(row), spans=len(spans)), spans

    async def traces(self, owner: Tenant, before: Position | None, most: int) -> Sequence[Trace]:
        query = _owned(owner)
        if before is not None:
            same = and_(TRACES.c.start_ns == before.start_ns, TRACES.c.trace_id < before.trace_id)
            query = query.where(TRACES.c.start_ns <= before.start_ns)
            query = query.where(or_(TRACES.c.start_ns < before.start_ns, same))
        query = query.order_by(TRACES.c.start_ns.desc(), TRACES.c.trace_id.desc()).limit(most)
        async with self._database.read() as connection:
            return [_trace(row) for row in (await connection.execute(query)).mappings()]

    async def delete(self, owner: Tenant, most: int) -> int:
        async with self._database.write() as connection:
            return await _delete_oldest(connection, TRACES.c.tenant == owner.id, most)

    async def delete_older(self, owner: Platform, stored_before: float, most: int) -> int:
        async with self._database.write() as connection:
            # Changes of the table of tenants are entered by kit; insight remembers no tenants, so that nobody reads them.
            await changes.trim(connection, self._clock.now() - changes.KEEP_S)
            return await _delete_oldest(connection, TRACES.c.stored_at < stored_before, most)

    async def delete_surplus(self, owner: Platform, spans: int, most: int) -> int:
        async with self._database.write() as connection:
            of_each = select(TRACES.c.tenant, func.sum(TRACES.c.spans).label("spans")).group_by(TRACES.c.tenant)
            held = (await connection.execute(of_each)).all()
            if sum(int(row.spans) for row in held) <= spans:
                return 0
            # Not the oldest of all: a tenant with few traces would lose them to one with many.
            most_of_all = max(held, key=lambda row: int(row.spans))
            return await _delete_oldest(connection, TRACES.c.tenant == most_of_all.tenant, most)

    async def _with_room(self, connection: AsyncConnection, spans: Sequence[Span]) -> list[Span]:
        """The spans whose trace is not full. Two replicas that begin a trace at once may exceed the limit by a batch."""
        ids = sorted({span.trace_id for span in spans})
        query = select(TRACES.c.tenant, TRACES.c.trace_id, TRACES.c.spans).where(TRACES.c.trace_id.in_(ids))
        query = query.where(TRACES.c.tenant.in_(sorted({span.tenant for span in spans})))
        # Locked, as when traces are deleted: else a span could be added to a trace that goes, and stay for ever.
        query = query.order_by(TRACES.c.tenant, TRACES.c.trace_id).with_for_update()
        held: dict[_Key, int] = {(row.tenant, row.trace_id): row.spans for row in await connection.execute(query)}
        kept: list[Span] = []
        for span in spans:
            key = (span.tenant, span.trace_id)
            held[key] = held.get(key, 0) + 1
            if held[key] <= self._in_trace:
                kept.append(span)
        return kept


def _insert(connection: AsyncConnection) -> Any:
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


async def _served(connection: AsyncConnection, named: set[str]) -> set[str]:
    """Those of the tenants that are served, who stay so until the transaction ends: what is deleted stays deleted."""
    query = select(_TENANTS.c.tenant).where(_TENANTS.c.tenant.in_(sorted(named))).with_for_update(read=True)
    return set((await connection.execute(query)).scalars())


def _once(spans: Iterable[Span]) -> list[Span]:
    """Each span once, in one order, so that replicas that write the same trace don't wait for each other."""
    found = {(span.tenant, span.trace_id, span.span_id): span for span in spans}
    return [found[key] for key in sorted(found)]


def _summaries(spans: Sequence[Span], now: float) -> list[dict[str, Any]]:
    by_trace: dict[_Key, list[Span]] = {}
    for span in spans:
        by_trace.setdefault((span.tenant, span.trace_id), []).append(span)
    rows: list[dict[str, Any]] = []
    for (tenant, trace_id), own in by_trace.items():
        root = own[0]
        for span in own[1:]:
            root = span if is_older_root(span, root) else root
        request_id = root.request_id or next((span.request_id for span in own if span.request_id), "")
        rows.append(
            {
                "tenant": tenant,
                "trace_id": trace_id,
                "request_id": request_id,
                "name": root.name,
                "is_child": int(bool(root.parent_span_id)),
                "start_ns": root.start_ns,
                "duration_ns": root.duration_ns,
                "spans": len(own),
                "failed": root.failed,
                "stored_at": now,
            }
        )
    return rows


def _summarising(insert: Any) -> Any:
    """Adds to a trace's row; an older root, by the order of `spans.is_older_root`, takes the place of the one there."""
    added = insert(TRACES)
    new = added.excluded
    earlier = and_(new.is_child == TRACES.c.is_child, new.start_ns < TRACES.c.start_ns)
    older = or_(new.is_child < TRACES.c.is_child, earlier)
    takes_request = and_(new.request_id != "", or_(older, TRACES.c.request_id == ""))
    changed: dict[str, Any] = {name: case((older, new[name]), else_=TRACES.c[name]) for name in _OF_ROOT}
    changed["request_id"] = case((takes_request, new.request_id), else_=TRACES.c.request_id)
    changed["spans"] = TRACES.c.spans + new.spans
    return added.on_conflict_do_update(index_elements=[TRACES.c.tenant, TRACES.c.trace_id], set_=changed)


async def _delete_oldest(connection: AsyncConnection, which: ColumnElement[bool], most: int) -> int:
    oldest = select(TRACES.c.tenant, TRACES.c.trace_id).where(which).order_by(TRACES.c.stored_at).limit(most)
    oldest = oldest.with_for_update(skip_locked=True)
    by_tenant: dict[str, list[str]] = {}
    for row in await connection.execute(oldest):
        by_tenant.setdefault(row.tenant, []).append(row.trace_id)
    for tenant, trace_ids in sorted(by_tenant.items()):
        for rows in (TRACES, SPANS):
            mine = and_(rows.c.tenant == tenant, rows.c.trace_id.in_(trace_ids))
            await connection.execute(delete(rows).where(mine))
    return sum(len(trace_ids) for trace_ids in by_tenant.values())


def _owned(owner: Tenant) -> Select[Any]:
    return select(TRACES).where(TRACES.c.tenant == owner.id)


async def _first(connection: AsyncConnection, query: Select[Any]) -> RowMapping | None:
    return (await connection.execute(query.limit(1))).mappings().first()


def _row(span: Span) -> dict[str, Any]:
    return {name: getattr(span, name) for name in _SPAN}


def _span(row: RowMapping) -> Span:
    return Span(**{name: row[name] for name in _SPAN})


def _trace(row: RowMapping) -> Trace:
    return Trace(**{name: row[name] for name in _TRACE})
