"""The chains of usage entries in SQL: what an entry's transaction adds to them, and how they are read again."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import RowMapping, and_, delete, func, insert, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.insight.entries import Entry
from tenantry.insight.store_sql.rows import entry_of, row_of
from tenantry.insight.store_sql.tables import DIGESTS, ENTRIES, SUPERSEDED
from tenantry.insight.usage_chain import Digest, Known, Link
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database


async def known(connection: AsyncConnection, entries: Sequence[Entry]) -> dict[str, Known]:
    """What the ledger has of the reservations."""
    found = select(ENTRIES.c.reservation, ENTRIES.c.organisation, ENTRIES.c.tenant, ENTRIES.c.estimated)
    rows = await connection.execute(found.where(ENTRIES.c.reservation.in_([one.reservation for one in entries])))
    return {row.reservation: Known(Tenant(row.organisation, row.tenant), row.estimated) for row in rows}


async def heads(connection: AsyncConnection, owners: Collection[Tenant]) -> dict[Tenant, Digest]:
    """The last digest of each owner's chain that has one."""
    owned = (DIGESTS.c.organisation, DIGESTS.c.tenant)
    wanted = tuple_(*owned).in_([(one.organisation, one.id) for one in owners])
    last = select(*owned, func.max(DIGESTS.c.batch).label("batch")).where(wanted).group_by(*owned).subquery()
    same = and_(*(DIGESTS.c[name] == last.c[name] for name in ("organisation", "tenant", "batch")))
    rows = await connection.execute(select(DIGESTS).join(last, same))
    return {digest.owner: digest for digest in map(_digest, rows.mappings())}


async def add(
    connection: AsyncConnection, links: Sequence[Link], digests: Sequence[Digest], replaced: set[str]
) -> None:
    """Keeps the links and digests. `replaced` are the reservations of which there is an estimate, which makes room. Conflict
    when somebody else added to one of the chains, or one of the reservations is there already."""
    if replaced:
        move = select(ENTRIES).where(ENTRIES.c.reservation.in_(replaced))
        await connection.execute(insert(SUPERSEDED).from_select([column.name for column in ENTRIES.c], move))
        await connection.execute(delete(ENTRIES).where(ENTRIES.c.reservation.in_(replaced)))
    last = {link.entry.reservation: link.number for link in links}
    overtaken = [row_of(link) for link in links if last[link.entry.reservation] != link.number]
    if overtaken:
        await connection.execute(insert(SUPERSEDED), overtaken)
    kept = [row_of(link) for link in links if last[link.entry.reservation] == link.number]
    await connection.execute(insert(ENTRIES), kept)
    await connection.execute(insert(DIGESTS), [_digest_row(digest) for digest in digests])


class SqlChain:
    """`store.Chain`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def links(
        self, owner: Tenant, after: int, most: int
    ) -> tuple[Sequence[Link], Sequence[Digest], Digest | None]:
        parts = [
            select(table).where(
                table.c.tenant == owner.id, table.c.organisation == owner.organisation, table.c.number > after
            )
            for table in (ENTRIES, SUPERSEDED)
        ]
        both = union_all(
            *(select(part.order_by(part.selected_columns.number).limit(most).subquery()) for part in parts)
        )
        ordered = both.subquery()
        async with self._database.read() as connection:
            rows = await connection.execute(select(ordered).order_by(ordered.c.number).limit(most))
            links = [_link(row) for row in rows.mappings()]
            digests = await self._digests(connection, owner, links)
            last = (await heads(connection, [owner])).get(owner)
        return links, digests, last

    async def _digests(self, connection: AsyncConnection, owner: Tenant, links: Sequence[Link]) -> list[Digest]:
        if not links:
            return []
        batches = [link.batch for link in links]
        mine = and_(DIGESTS.c.tenant == owner.id, DIGESTS.c.organisation == owner.organisation)
        query = (
            select(DIGESTS).where(mine, DIGESTS.c.batch.between(min(batches), max(batches))).order_by(DIGESTS.c.batch)
        )
        return [_digest(row) for row in (await connection.execute(query.limit(len(links)))).mappings()]


def _link(row: RowMapping) -> Link:
    return Link(row["number"], row["batch"], bytes(row["hash"]), entry_of(row))


def _digest(row: RowMapping) -> Digest:
    owner = Tenant(row["organisation"], row["tenant"])
    return Digest(owner, row["batch"], row["last"], row["entries"], bytes(row["digest"]))


def _digest_row(digest: Digest) -> dict[str, Any]:
    return {
        "organisation": digest.owner.organisation,
        "tenant": digest.owner.id,
        "batch": digest.batch,
        "last": digest.last,
        "entries": digest.entries,
        "digest": digest.digest,
    }
