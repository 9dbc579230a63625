"""Tenants in SQL."""

from typing import Any

from sqlalchemy import ColumnElement, Row, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import owner
from tenantry.tenancy.paging import Page
from tenantry.tenancy.records import Revocation, Tenant, TenantState, Tier
from tenantry.tenancy.store import TENANT_CHANGES
from tenantry.tenancy.store_sql.noted import Note, Revoke
from tenantry.tenancy.store_sql.tables import tenants


class SqlTenants:
    """`store.Tenants` in one transaction."""

    def __init__(self, connection: AsyncConnection, note: Note, revoke: Revoke) -> None:
        self._connection = connection
        self._note = note
        self._revoke = revoke

    async def insert(self, owner: owner.Tenant, tenant: Tenant) -> None:
        values = {
            "id": owner.id,
            "organisation": owner.organisation,
            "display_name": tenant.display_name,
            "tier": tenant.tier.value,
            "state": tenant.state.value,
            "operation": tenant.operation,
            "created_ns": tenant.created_ns,
            "version": tenant.version,
            "generation": tenant.generation,
        }
        await self._connection.execute(insert(tenants).values(values))
        self._note(TENANT_CHANGES, owner.id)

    async def get(self, owner: owner.Tenant) -> Tenant | None:
        row = (await self._connection.execute(select(tenants).where(tenants.c.id == owner.id))).first()
        return _tenant(row) if row else None

    async def lock(self, owner: owner.Tenant) -> Tenant | None:
        query = select(tenants).where(tenants.c.id == owner.id).with_for_update()  # SQLite's writer is alone anyway
        row = (await self._connection.execute(query)).first()
        return _tenant(row) if row else None

    async def list(self, owner: owner.Owner, page: Page) -> tuple[Tenant, ...]:
        query = select(tenants).where(
            _of(owner), tenants.c.id > page.after, tenants.c.state != TenantState.DELETED.value
        )
        rows = await self._connection.execute(query.order_by(tenants.c.id).limit(page.size + 1))
        return tuple(_tenant(row) for row in rows)

    async def set_state(self, owner: owner.Tenant, state: TenantState, operation: str) -> None:
        change = update(tenants).where(tenants.c.id == owner.id)
        change = change.values(
            state=state.value,
            operation=operation,
            version=tenants.c.version + 1,
            generation=tenants.c.generation + 1,
        )
        generation = (await self._connection.execute(change.returning(tenants.c.generation))).scalar_one_or_none()
        self._note(TENANT_CHANGES, owner.id)
        if generation is not None and state is not TenantState.ACTIVE:
            self._revoke(Revocation(TENANT_CHANGES, owner.id, generation, state))

    async def forget_name(self, owner: owner.Tenant) -> None:
        await self._connection.execute(update(tenants).where(tenants.c.id == owner.id).values(display_name=owner.id))


def _of(whose: owner.Owner) -> ColumnElement[bool]:
    match whose:
        case owner.Tenant():
            return tenants.c.id == whose.id
        case owner.Organisation():
            return tenants.c.organisation == whose.id
        case owner.Platform():
            return true()
        case owner.Pool():
            raise TypeError("a pool has no tenants")


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(
        id=row.id,
        organisation=row.organisation,
        display_name=row.display_name,
        tier=Tier(row.tier),
        state=TenantState(row.state),
        operation=row.operation,
        created_ns=row.created_ns,
        version=row.version,
        generation=row.generation,
    )
