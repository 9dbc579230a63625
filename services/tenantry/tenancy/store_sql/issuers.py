"""OIDC issuers in SQL."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import owner
from tenantry.tenancy.paging import Page
from tenantry.tenancy.records import Issuer, Revocation
from tenantry.tenancy.store import ISSUER_CHANGES, KEY_CHANGES
from tenantry.tenancy.store_sql.noted import Note, Revoke
from tenantry.tenancy.store_sql.tables import issuers


class SqlIssuers:
    """`store.Issuers` in one transaction."""

    def __init__(self, connection: AsyncConnection, note: Note, revoked: Revoke) -> None:
        self._connection = connection
        self._note = note
        self._revoked = revoked

    async def register(self, owner: owner.Tenant, issuer: Issuer) -> Issuer:
        removed = and_(issuers.c.id == issuer.id, issuers.c.removed_ns.is_not(None))
        values = _values(owner, issuer)
        again = update(issuers).where(removed).values(values | {"generation": issuers.c.generation + 1})
        row = (await self._connection.execute(again.returning(issuers))).first()
        if row is None:
            # A row that is there is somebody's: kit.sql raises Conflict.
            added = insert(issuers).values(values | {"generation": issuer.generation}).returning(issuers)
            row = (await self._connection.execute(added)).one()
        self._note(ISSUER_CHANGES, issuer.id)
        return _issuer(row)

    async def find(self, owner: owner.Platform, issuer_id: str) -> Issuer | None:
        row = (await self._connection.execute(select(issuers).where(issuers.c.id == issuer_id))).first()
        return _issuer(row) if row else None

    async def list(self, owner: owner.Tenant, page: Page) -> tuple[Issuer, ...]:
        query = select(issuers).where(_of(owner), issuers.c.id > page.after)
        rows = await self._connection.execute(query.order_by(issuers.c.id).limit(page.size + 1))
        return tuple(_issuer(row) for row in rows)

    async def count(self, owner: owner.Tenant, removed_after_ns: int) -> int:
        counted = or_(issuers.c.removed_ns.is_(None), issuers.c.removed_ns > removed_after_ns)
        query = select(func.count()).select_from(issuers).where(_mine(owner), counted)
        return int((await self._connection.execute(query)).scalar_one())

    async def remove(self, owner: owner.Tenant, issuer_id: str, now_ns: int) -> None:
        for removed, generation in await self._remove(and_(_of(owner), issuers.c.id == issuer_id), now_ns):
            # Assertions name the issuer where others name a key.
            self._revoked(Revocation(KEY_CHANGES, removed, generation))

    async def remove_all(self, owner: owner.Tenant, now_ns: int) -> None:
        await self._remove(_of(owner), now_ns)

    async def _remove(self, which: ColumnElement[bool], now_ns: int) -> Sequence[tuple[str, int]]:
        """Their ids and generations now."""
        change = update(issuers).where(which).values(removed_ns=now_ns, generation=issuers.c.generation + 1)
        rows = await self._connection.execute(change.returning(issuers.c.id, issuers.c.generation))
        removed = [(row.id, row.generation) for row in rows]
        for issuer_id, _ in removed:
            self._note(ISSUER_CHANGES, issuer_id)
        return removed


def _of(whose: owner.Tenant) -> ColumnElement[bool]:
    """Those that the tenant has, without removed ones."""
    return and_(_mine(whose), issuers.c.removed_ns.is_(None))


def _mine(whose: owner.Tenant) -> ColumnElement[bool]:
    return and_(issuers.c.tenant == whose.id, issuers.c.organisation == whose.organisation)


def _values(whose: owner.Tenant, issuer: Issuer) -> dict[str, Any]:
    return {
        "id": issuer.id,
        "tenant": whose.id,
        "organisation": whose.organisation,
        "url": issuer.url,
        "audience": issuer.audience,
        "scopes": json.dumps(issuer.scopes),
        "narrowed": issuer.narrowed,
        "models": json.dumps(issuer.models),
        "collections": json.dumps(issuer.collections),
        "networks": json.dumps(issuer.networks),
        "created_ns": issuer.created_ns,
        "removed_ns": None,
    }


def _issuer(row: Row[Any]) -> Issuer:
    return Issuer(
        id=row.id,
        tenant=row.tenant,
        organisation=row.organisation,
        url=row.url,
        audience=row.audience,
        scopes=tuple(json.loads(row.scopes)),
        narrowed=row.narrowed,
        models=tuple(json.loads(row.models)),
        collections=tuple(json.loads(row.collections)),
        networks=tuple(json.loads(row.networks)),
        created_ns=row.created_ns,
        removed_ns=row.removed_ns,
        generation=row.generation,
    )
