"""Who does a background job: a claim in SQL, taken by compare-and-set, that ends by itself when its holder dies.

Ends are by the database's clock, so that replicas whose clocks differ agree. A holder that was paused past its claim's end does
not notice: a job whose steps must not be done twice calls `renew` in each step's transaction and stops when it answers False.
"""

from typing import Any

from sqlalchemy import Column, ColumnElement, Float, MetaData, Table, Text, cast, delete, extract, func, or_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

_metadata = MetaData()
_claims = Table(
    "claims",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("ends_at", Float, nullable=False, index=True),
)


def create_tables(connection: Connection) -> None:
    """The table of claims, for a service's migration: `claims.create_tables(op.get_bind())`."""
    _metadata.create_all(connection, checkfirst=False)


async def claim(connection: AsyncConnection, name: str, holder: str, ttl_s: float) -> bool:
    """Whether `holder` has the job for the next `ttl_s` seconds: it was free, its claim had ended, or it was his already."""
    now = _now(connection)
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    taken = insert(_claims).values(name=name, holder=holder, ends_at=now + ttl_s)
    taken = taken.on_conflict_do_update(
        index_elements=[_claims.c.name],
        set_={"holder": taken.excluded.holder, "ends_at": taken.excluded.ends_at},
        where=or_(_claims.c.ends_at <= now, _claims.c.holder == holder),
    ).returning(_claims.c.name)
    return (await connection.execute(taken)).first() is not None


async def renew(connection: AsyncConnection, name: str, holder: str, ttl_s: float) -> bool:
    """Move the claim's end to `ttl_s` seconds from now; False if it ended or is another's."""
    now = _now(connection)
    held = (_claims.c.name == name) & (_claims.c.holder == holder) & (_claims.c.ends_at > now)
    return (await connection.execute(update(_claims).where(held).values(ends_at=now + ttl_s))).rowcount == 1


async def release(connection: AsyncConnection, name: str, holder: str) -> bool:
    """Give the job back before the claim's end; False if it was not `holder`'s any more."""
    mine = (_claims.c.name == name) & (_claims.c.holder == holder)
    return (await connection.execute(delete(_claims).where(mine))).rowcount == 1


def _now(connection: AsyncConnection) -> ColumnElement[float]:
    """The database's Unix time in seconds, at this statement and not at the transaction's start."""
    if connection.dialect.name == "postgresql":
        return cast(extract("epoch", func.clock_timestamp()), Float)
    return (func.julianday("now", type_=Float) - 2440587.5) * 86400.0
