"""The ledger as a hash chain a tenant. Entries that are there already become the first batches, as they are now."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from tenantry.insight import usage_chain
from tenantry.insight.store_sql.rows import entry_of
from tenantry.insight.store_sql.tables import DIGESTS, ENTRIES
from tenantry.kit.owner import Tenant

revision = "0002"
down_revision = "0001"
_A_BATCH = 500
# As the table is at this revision.
_LATER = {"cached_input_tokens": sa.literal(0), "counts_estimated": sa.false()}
_COLUMNS = [column for column in ENTRIES.c if column.name not in _LATER]


def upgrade() -> None:
    place = (
        sa.Column("number", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("batch", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("hash", sa.LargeBinary),
    )
    for column in place:
        op.add_column("entries", column)
    op.execute("CREATE TABLE superseded AS SELECT * FROM entries WHERE 1 = 0")  # the same columns
    op.create_table(
        "digests",
        sa.Column("organisation", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("batch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("entries", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
    )
    for owner in op.get_bind().execute(sa.select(ENTRIES.c.organisation, ENTRIES.c.tenant).distinct()).all():
        _chain(op.get_bind(), Tenant(owner.organisation, owner.tenant))
    op.create_index("entries_by_number", "entries", ["tenant", "number"])
    op.create_index("superseded_by_number", "superseded", ["tenant", "number"])


def _chain(connection: sa.Connection, owner: Tenant) -> None:
    heads: dict[Tenant, usage_chain.Digest] = {}
    for rows in _batches(connection, owner):
        links, digests = usage_chain.chained([entry_of(row) for row in rows], heads)
        heads = {owner: digests[0]}
        place = sa.update(ENTRIES).where(ENTRIES.c.reservation == sa.bindparam("key"))
        place = place.values(number=sa.bindparam("n"), batch=sa.bindparam("b"), hash=sa.bindparam("h"))
        connection.execute(
            place, [{"key": one.entry.reservation, "n": one.number, "b": one.batch, "h": one.hash} for one in links]
        )
        digest = digests[0]
        values: dict[str, Any] = {"batch": digest.batch, "last": digest.last, "entries": digest.entries}
        values |= {"organisation": owner.organisation, "tenant": owner.id, "digest": digest.digest}
        connection.execute(sa.insert(DIGESTS).values(values))


def _batches(connection: sa.Connection, owner: Tenant) -> Iterator[Sequence[sa.RowMapping]]:
    """The owner's entries in the order of their settlement, so many at a time."""
    order = (ENTRIES.c.settled_us, ENTRIES.c.reservation)
    columns = (*_COLUMNS, *(value.label(name) for name, value in _LATER.items()))
    mine = sa.select(*columns).where(ENTRIES.c.tenant == owner.id, ENTRIES.c.organisation == owner.organisation)
    after: tuple[int, str] | None = None
    while True:
        query = mine if after is None else mine.where(sa.tuple_(*order) > after)
        rows = connection.execute(query.order_by(*order).limit(_A_BATCH)).mappings().all()
        if not rows:
            return
        after = rows[-1]["settled_us"], rows[-1]["reservation"]
        yield rows
