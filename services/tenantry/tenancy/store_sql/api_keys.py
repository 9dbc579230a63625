"""API keys in SQL."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import owner
from tenantry.tenancy.paging import Page
from tenantry.tenancy.records import ApiKey, Revocation
from tenantry.tenancy.store import KEY_CHANGES
from tenantry.tenancy.store_sql.noted import Note, Revoke
from tenantry.tenancy.store_sql.tables import api_keys

_USED = (
    update(api_keys)
    .where(
        api_keys.c.id == bindparam("key"),
        or_(api_keys.c.last_used_ns.is_(None), api_keys.c.last_used_ns < bindparam("at")),
    )
    .values(last_used_ns=bindparam("at"))
)


class SqlKeys:
    """`store.Keys` in one transaction."""

    def __init__(self, connection: AsyncConnection, note: Note, revoke: Revoke) -> None:
        self._connection = connection
        self._note = note
        self._revoked = revoke

    async def insert(self, owner: owner.Owner, key: ApiKey) -> None:
        tenant, organisation = _columns(owner)
        values = {
            "id": key.id,
            "tenant": tenant,
            "organisation": organisation,
            "display_name": key.display_name,
            "scopes": json.dumps(key.scopes),
            "models": json.dumps(key.models),
            "collections": json.dumps(key.collections),
            "digest": key.digest,
            "created_ns": key.created_ns,
            "expires_ns": key.expires_ns,
            "revoked_ns": key.revoked_ns,
            "generation": key.generation,
            "version": key.version,
            "networks": json.dumps(key.networks),
            "replaced_by": key.replaced_by,
        }
        await self._connection.execute(insert(api_keys).values(values))
        self._note(KEY_CHANGES, key.id)

    async def find(self, owner: owner.Platform, key_id: str) -> ApiKey | None:
        row = (await self._connection.execute(select(api_keys).where(api_keys.c.id == key_id))).first()
        return _key(row) if row else None

    async def list(self, owner: owner.Owner, page: Page, ended_after_ns: int) -> tuple[ApiKey, ...]:
        query = select(api_keys).where(_of(owner), *_not_ended(ended_after_ns))
        if page.after:
            query = query.where(api_keys.c.id < page.after)
        rows = await self._connection.execute(query.order_by(api_keys.c.id.desc()).limit(page.size + 1))
        return tuple(_key(row) for row in rows)

    async def lock(self, owner: owner.Platform, key_id: str) -> ApiKey | None:
        query = select(api_keys).where(api_keys.c.id == key_id).with_for_update()  # SQLite's writer is alone anyway
        row = (await self._connection.execute(query)).first()
        return _key(row) if row else None

    async def count(self, owner: owner.Owner, now_ns: int, revoked_after_ns: int | None = None) -> int:
        counted = and_(api_keys.c.revoked_ns.is_(None), _not_ended(now_ns)[1])
        if revoked_after_ns is not None:
            counted = or_(counted, api_keys.c.revoked_ns >= revoked_after_ns)
        query = select(func.count()).select_from(api_keys).where(_of(owner), counted)
        return int((await self._connection.execute(query)).scalar_one())

    async def change(self, owner: owner.Owner, key: ApiKey, *, revokes: bool) -> None:
        change = update(api_keys).where(_of(owner), api_keys.c.id == key.id)
        change = change.values(
            scopes=json.dumps(key.scopes),
            models=json.dumps(key.models),
            collections=json.dumps(key.collections),
            networks=json.dumps(key.networks),
            expires_ns=key.expires_ns,
            version=api_keys.c.version + 1,
            generation=api_keys.c.generation + int(revokes),
        )
        generation = (await self._connection.execute(change.returning(api_keys.c.generation))).scalar_one()
        self._note(KEY_CHANGES, key.id)
        if revokes:
            self._revoked(Revocation(KEY_CHANGES, key.id, generation))

    async def replace(self, owner: owner.Owner, key_id: str, replaced_by: str, expires_ns: int) -> None:
        change = update(api_keys).where(_of(owner), api_keys.c.id == key_id)
        change = change.values(replaced_by=replaced_by, expires_ns=expires_ns, version=api_keys.c.version + 1)
        await self._connection.execute(change)
        self._note(KEY_CHANGES, key_id)

    async def used(self, owner: owner.Platform, uses: Sequence[tuple[str, int]]) -> None:
        # In one order everywhere, so that two replicas don't wait for each other.
        rows = [{"key": key_id, "at": used_ns} for key_id, used_ns in sorted(uses)]
        await self._connection.execute(_USED, rows)

    async def revoke(self, owner: owner.Owner, key_id: str, now_ns: int) -> None:
        for generation in await self._revoke(and_(_of(owner), api_keys.c.id == key_id), now_ns):
            self._note(KEY_CHANGES, key_id)
            self._revoked(Revocation(KEY_CHANGES, key_id, generation))

    async def revoke_all(self, owner: owner.Tenant, now_ns: int) -> int:
        revoked = await self._revoke(_of(owner), now_ns)
        if revoked:
            # One entry for all: a thousand keys are revoked in the time of one.
            self._note(KEY_CHANGES, "")
        return len(revoked)

    async def sweep(self, owner: owner.Platform, ended_before_ns: int) -> int:
        gone = delete(api_keys).where(
            or_(api_keys.c.revoked_ns < ended_before_ns, api_keys.c.expires_ns < ended_before_ns)
        )
        return (await self._connection.execute(gone)).rowcount

    async def _revoke(self, which: ColumnElement[bool], now_ns: int) -> Sequence[int]:
        """Their generations now."""
        change = update(api_keys).where(which, api_keys.c.revoked_ns.is_(None))
        raised = {"generation": api_keys.c.generation + 1, "version": api_keys.c.version + 1}
        change = change.values(revoked_ns=now_ns, **raised).returning(api_keys.c.generation)
        return (await self._connection.execute(change)).scalars().all()


def _not_ended(time_ns: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Neither revoked nor at its end before that time."""
    revoked, expires = api_keys.c.revoked_ns, api_keys.c.expires_ns
    return or_(revoked.is_(None), revoked >= time_ns), or_(expires.is_(None), expires >= time_ns)


def _columns(whose: owner.Owner) -> tuple[str, str]:
    match whose:
        case owner.Tenant():
            return whose.id, whose.organisation
        case owner.Organisation():
            return "", whose.id
        case owner.Platform():
            return "", ""
        case owner.Pool():
            raise TypeError("a pool has no keys")


def _of(whose: owner.Owner) -> ColumnElement[bool]:
    tenant, organisation = _columns(whose)
    return and_(api_keys.c.tenant == tenant, api_keys.c.organisation == organisation)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        tenant=row.tenant,
        organisation=row.organisation,
        display_name=row.display_name,
        scopes=tuple(json.loads(row.scopes)),
        models=tuple(json.loads(row.models)),
        collections=tuple(json.loads(row.collections)),
        digest=bytes(row.digest),
        created_ns=row.created_ns,
        expires_ns=row.expires_ns,
        revoked_ns=row.revoked_ns,
        generation=row.generation,
        version=row.version,
        networks=tuple(json.loads(row.networks)),
        last_used_ns=row.last_used_ns,
        replaced_by=row.replaced_by,
    )
