"""The usage ledger in SQL. The key is the reservation, and a true settlement is final: `usage_chain.news` says what is kept."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, case, func, literal, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.insight import usage_chain
from tenantry.insight.entries import (
    FIRST_FAILURE,
    MOST_GROUPS,
    Batch,
    Cursor,
    Entry,
    Grouping,
    Position,
    Sums,
    bucket_ms,
    fitting,
)
from tenantry.insight.store_sql import chain
from tenantry.insight.store_sql.rows import entry_of
from tenantry.insight.store_sql.tables import CURSORS, ENTRIES
from tenantry.insight.usage_chain import Digest
from tenantry.kit import claims, tenants
from tenantry.kit.errors import Conflict
from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.sql import Database

_DAY_US = 86_400_000_000
_LARGEST = 2**63 - 1
_REMEMBERED = 20_000
_COUNTED = ("requests", "input_tokens", "output_tokens", "cost_micros", "cache_hits", "failures", "estimated")
_GROUPS: dict[Grouping, ColumnElement[Any]] = {
    Grouping.MODEL: ENTRIES.c.model,
    Grouping.END_USER: ENTRIES.c.end_user,
    Grouping.DAY: ENTRIES.c.settled_us // _DAY_US,
    Grouping.KEY: ENTRIES.c.key_id,
}


class SqlLedger:
    """The Ledger of the replica that calls itself `holder`."""

    def __init__(self, database: Database, holder: str) -> None:
        self._database = database
        self._holder = holder
        self._heads: dict[Tenant, Digest] = {}

    async def enter(self, owner: Platform, batch: Batch, job: str, seconds: float) -> bool:
        # In one order, so that two replicas, one of which lost its claim, don't wait for each other's rows.
        entries = sorted((fitting(entry) for entry in batch.entries), key=lambda entry: entry.reservation)
        try:
            # Nearly always all is new and nobody else wrote: then neither entries nor heads need be read.
            return await self._enter(entries, batch.cursor, job, seconds, looks=False)
        except Conflict:
            self._heads.clear()
            return await self._enter(entries, batch.cursor, job, seconds, looks=True)

    async def _enter(self, entries: Sequence[Entry], cursor: Cursor, job: str, seconds: float, *, looks: bool) -> bool:
        async with self._database.write() as connection:
            if not await claims.renew(connection, job, self._holder, seconds):
                return False
            known = await chain.known(connection, entries) if looks else {}
            new = usage_chain.news(entries, known)
            digests: list[Digest] = []
            if new:
                unread = {one.owner for one in new} - self._heads.keys()
                heads = await chain.heads(connection, unread) if unread else {}
                links, digests = usage_chain.chained(new, self._heads | heads)
                await chain.add(connection, links, digests, {one.reservation for one in new} & known.keys())
            await connection.execute(_moving(connection.dialect.name), asdict(cursor))
        self._remember(digests)
        return True

    def _remember(self, digests: Sequence[Digest]) -> None:
        """The heads of the chains as this replica left them, for so many tenants."""
        if len(self._heads) > _REMEMBERED:
            self._heads.clear()
        self._heads |= {digest.owner: digest for digest in digests}

    async def find_tenant(self, tenant_id: str) -> Tenant | None:
        async with self._database.read() as connection:
            found = await tenants.find(connection, tenant_id)
            if found is not None:
                return found[0]
            # A deleted tenant's entries stay, and its organisation may read them.
            newest = ENTRIES.c.settled_us.desc()
            query = select(ENTRIES.c.organisation).where(ENTRIES.c.tenant == tenant_id).order_by(newest).limit(1)
            organisation = (await connection.execute(query)).scalar()
        return None if organisation is None else Tenant(organisation, tenant_id)

    async def sums(
        self, owner: Tenant, start_us: int, end_us: int, grouping: Grouping | None
    ) -> tuple[Sums, Sequence[Sums]]:
        within = and_(_owned(owner), ENTRIES.c.settled_us >= start_us, ENTRIES.c.settled_us < end_us)
        async with self._database.read() as connection:
            total = await _sums(connection, literal(""), within, None)
            groups = [] if grouping is None else await _sums(connection, _GROUPS[grouping], within, grouping)
        return (total[0] if total else Sums()), groups

    async def entries(self, owner: Tenant, request_id: str, before: Position | None, most: int) -> Sequence[Entry]:
        query = select(ENTRIES).where(_owned(owner))
        if request_id:
            query = query.where(ENTRIES.c.request_id == request_id)
        if before is not None:
            same = and_(ENTRIES.c.settled_us == before.settled_us, ENTRIES.c.reservation < before.reservation)
            query = query.where(ENTRIES.c.settled_us <= before.settled_us)
            query = query.where(or_(ENTRIES.c.settled_us < before.settled_us, same))
        query = query.order_by(ENTRIES.c.settled_us.desc(), ENTRIES.c.reservation.desc()).limit(most)
        async with self._database.read() as connection:
            return [entry_of(row) for row in (await connection.execute(query)).mappings()]


@cache
def _moving(dialect: str) -> Any:
    moved = _insert(dialect)(CURSORS)
    columns = {"epoch": moved.excluded.epoch, "position": moved.excluded.position}
    return moved.on_conflict_do_update(index_elements=[CURSORS.c.bucket], set_=columns)


def _insert(dialect: str) -> Any:
    return postgresql.insert if dialect == "postgresql" else sqlite.insert


def _owned(owner: Tenant) -> ColumnElement[bool]:
    # The organisation too: an id that was given again after its tenant was deleted does not inherit its ledger.
    return and_(ENTRIES.c.tenant == owner.id, ENTRIES.c.organisation == owner.organisation)


async def _sums(
    connection: AsyncConnection, group: ColumnElement[Any], within: ColumnElement[bool], grouping: Grouping | None
) -> list[Sums]:
    """One pass over the entries, counted by group and latency bucket; what comes back is a row a group.

    A percentile is the first bucket up to which so many hundredths of the group's true settlements are.
    """
    bucket = ENTRIES.c.latency_bucket
    counted = (
        select(
            group.label("grp"),
            bucket.label("bucket"),
            func.count().label("requests"),
            *(func.sum(ENTRIES.c[name]).label(name) for name in ("input_tokens", "output_tokens", "cost_micros")),
            func.sum(case((ENTRIES.c.cache_hit, 1), else_=0)).label("cache_hits"),
            func.sum(case((ENTRIES.c.outcome >= FIRST_FAILURE, 1), else_=0)).label("failures"),
            func.sum(case((or_(ENTRIES.c.estimated, ENTRIES.c.counts_estimated), 1), else_=0)).label("estimated"),
            func.sum(case((bucket >= 0, 1), else_=0)).label("timed"),
        )
        .where(within)
        .group_by("grp", "bucket")
        .cte("counted")
    )
    timed_until = func.sum(counted.c.timed).over(partition_by=counted.c.grp, order_by=counted.c.bucket)
    timed = func.sum(counted.c.timed).over(partition_by=counted.c.grp)
    ranked = select(counted, timed_until.label("timed_until"), timed.label("timed_of_all")).cte("ranked")

    def percentile(hundredths: int) -> ColumnElement[Any]:
        reached = and_(ranked.c.bucket >= 0, ranked.c.timed_until * 100 >= ranked.c.timed_of_all * hundredths)
        return func.min(case((reached, ranked.c.bucket)))

    requests = func.sum(ranked.c.requests)
    query = (
        select(
            ranked.c.grp,
            *(func.sum(ranked.c[name]).label(name) for name in _COUNTED),
            percentile(50).label("p50"),
            percentile(95).label("p95"),
        )
        .group_by(ranked.c.grp)
        .order_by(requests.desc(), ranked.c.grp)
        .limit(MOST_GROUPS)
    )
    return [_sum(row, grouping) for row in (await connection.execute(query)).mappings()]


def _sum(row: RowMapping, grouping: Grouping | None) -> Sums:
    group = (
        datetime.fromtimestamp(row["grp"] * 86_400, UTC).date().isoformat() if grouping is Grouping.DAY else row["grp"]
    )
    # PostgreSQL's sums are of arbitrary size, the contract's of 64 bits.
    counts = {name: min(int(row[name]), _LARGEST) for name in _COUNTED}
    p50, p95 = (0.0 if row[name] is None else bucket_ms(row[name]) for name in ("p50", "p95"))
    return Sums(group, **counts, latency_p50_ms=p50, latency_p95_ms=p95)
