"""Pools in SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, MetaData, Table, Text, insert, select, update

from tenantry.kit import audit_outbox, changes
from tenantry.kit.errors import Aborted, Conflict, Reason
from tenantry.kit.owner import Platform, Pool
from tenantry.kit.sql import Database
from tenantry.quota.limit_changes import told_pool
from tenantry.quota.slot import Kind, PoolSettings

# The kind under which pools stand in the change log; the key is the pool's name.
KIND = "pool"
_NAMES = ("kind", "capacity", "input_weight", "output_weight", "most_waiting", "adaptive")

_pools = Table(
    "pools",
    MetaData(),
    Column("name", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("capacity", BigInteger, nullable=False),
    Column("input_weight", BigInteger, nullable=False),
    Column("output_weight", BigInteger, nullable=False),
    Column("most_waiting", BigInteger, nullable=False),
    Column("adaptive", Boolean, nullable=False),
)


class SqlPools:
    """Pools on SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, name: str) -> tuple[PoolSettings, int]:
        async with self._database.read() as connection:
            row = (await connection.execute(select(_pools).where(_pools.c.name == name))).mappings().first()
        return (_settings(row), row["version"]) if row is not None else (PoolSettings(), 0)

    async def list(self, after: str, most: int) -> Sequence[tuple[str, PoolSettings, int]]:
        asked = select(_pools).where(_pools.c.name > after).order_by(_pools.c.name).limit(most)
        async with self._database.read() as connection:
            rows = (await connection.execute(asked)).mappings().all()
        return [(row["name"], _settings(row), row["version"]) for row in rows]

    async def put(self, owner: Pool, settings: PoolSettings, version: int) -> int:
        values = {name: getattr(settings, name) for name in _NAMES} | {"version": version + 1}
        values["kind"] = settings.kind.value
        mine = _pools.c.name == owner.name
        try:
            async with self._database.write() as connection:
                known = (await connection.execute(select(_pools).where(mine))).mappings().first()
                before = _settings(known) if known is not None else PoolSettings()
                if version == 0:
                    await connection.execute(insert(_pools).values(name=owner.name, **values))
                else:
                    changed = update(_pools).where(mine, _pools.c.version == version).values(**values)
                    if (await connection.execute(changed)).rowcount == 0:
                        raise _changed()
                for told in told_pool(owner.name, before, settings):
                    await audit_outbox.append(connection, Platform(), "UpdatePool", told)
                await changes.record(connection, KIND, owner.name)
        except Conflict:
            raise _changed() from None
        return version + 1


def _settings(row: Any) -> PoolSettings:
    return PoolSettings(Kind(row["kind"]), *(row[name] for name in _NAMES[1:]))


def _changed() -> Aborted:
    return Aborted(Reason.VERSION_CONFLICT, "the pool changed since that version; read it again")
