"""Signing keys in SQL."""

from sqlalchemy import insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import owner
from tenantry.tenancy.records import SigningKey
from tenantry.tenancy.store import SIGNING_CHANGES
from tenantry.tenancy.store_sql.noted import Note
from tenantry.tenancy.store_sql.tables import signing_keys


class SqlSigningKeys:
    """`store.SigningKeys` in one transaction."""

    def __init__(self, connection: AsyncConnection, note: Note) -> None:
        self._connection = connection
        self._note = note

    async def insert(self, owner: owner.Platform, key: SigningKey) -> None:
        values = {
            "id": key.id,
            "public_key": key.public_key,
            "sealed": key.sealed,
            "not_before_ns": key.not_before_ns,
            "not_after_ns": key.not_after_ns,
        }
        await self._connection.execute(insert(signing_keys).values(values))
        self._note(SIGNING_CHANGES, "")

    async def end_others(self, owner: owner.Platform, key_id: str, not_after_ns: int) -> None:
        others = update(signing_keys).where(signing_keys.c.id != key_id, signing_keys.c.not_after_ns.is_(None))
        await self._connection.execute(others.values(not_after_ns=not_after_ns))
        self._note(SIGNING_CHANGES, "")

    async def list(self, owner: owner.Platform, now_ns: int) -> tuple[SigningKey, ...]:
        valid = or_(signing_keys.c.not_after_ns.is_(None), signing_keys.c.not_after_ns > now_ns)
        newest_first = (signing_keys.c.not_before_ns.desc(), signing_keys.c.id.desc())
        rows = await self._connection.execute(select(signing_keys).where(valid).order_by(*newest_first))
        return tuple(
            SigningKey(row.id, bytes(row.public_key), bytes(row.sealed), row.not_before_ns, row.not_after_ns)
            for row in rows
        )
