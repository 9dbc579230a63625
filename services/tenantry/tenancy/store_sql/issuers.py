"""OIDC issuers in SQL."""

import json
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import owner
from tenantry.tenancy.paging import Page
from tenantry.tenancy.records import Issuer
from tenantry.tenancy.store import ISSUER_CHANGES
from tenantry.tenancy.store_sql.noted import Note
from tenantry.tenancy.store_sql.tables import issuers


class SqlIssuers:
    """`store.Issuers` in one transaction."""

    def __init__(self, connection: AsyncConnection, note: Note) -> None:
        self._connection = connection
        self._note = note

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

    async def count(self, owner: owner.Tenant) -> int:
        query = select(func.count()).select_from(issuers).where(_of(owner))
        return int((await self._connection.execute(query)).scalar_one())

    async def remove(self, owner: owner.Tenant, issuer_id: str, now_ns: int) -> None:
        await self._remove(and_(_of(owner), issuers.c.id == issuer_id), now_ns)

    async def remove_all(self, owner: owner.Tenant, now_ns: int) -> None:
        await self._remove(_of(owner), now_ns)

    async def _remove(self, which: ColumnElement[bool], now_ns: int) -> None:
        change = update(issuers).where(which).values(removed_ns=now_ns, generation=issuers.c.generation + 1)
        for issuer_id in (await self._connection.execute(change.returning(issuers.c.id))).scalars():
            self._note(ISSUER_CHANGES, issuer_id)


def _of(whose: owner.Tenant) -> ColumnElement[bool]:
    """Those that the tenant has, without removed ones."""
    mine = and_(issuers.c.tenant == whose.id, issuers.c.organisation == whose.organisation)
    return and_(mine, issuers.c.removed_ns.is_(None))


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
