"""Quota's tenants in SQL: who is served, in which tier, with which limits of its own."""

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, delete, insert, select, update

from tenantry.kit import audit_outbox, changes, tenants
from tenantry.kit.errors import Aborted, Conflict, Reason
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database
from tenantry.quota.entries import NO_OVERRIDES, Limits, TenantLimits

# The kind under which tenants and their limits stand in the change log; the key is the tenant's id.
KIND = tenants.KIND
_NAMES = ("requests_per_minute", "request_burst", "tokens_per_minute", "token_burst", "concurrent_requests")

_overrides = Table(
    "overrides",
    MetaData(),
    Column("tenant", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in _NAMES),
)


class SqlTenants:
    """Tenants on SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, tenant_id: str) -> TenantLimits | None:
        async with self._database.read() as connection:
            found = await tenants.find(connection, tenant_id)
            if found is None:
                return None
            own = (
                (await connection.execute(select(_overrides).where(_overrides.c.tenant == tenant_id)))
                .mappings()
                .first()
            )
        owner, tier = found
        if own is None:
            return TenantLimits(owner.id, owner.organisation, tier, NO_OVERRIDES, 0)
        overrides = Limits(*(own[name] for name in _NAMES))
        return TenantLimits(owner.id, owner.organisation, tier, overrides, own["version"])

    async def add(self, owner: Tenant, tier: str) -> bool:
        async with self._database.write() as connection:
            return await tenants.add(connection, owner, tier)

    async def remove(self, owner: Tenant) -> bool:
        async with self._database.write() as connection:
            found = await tenants.find(connection, owner.id)
            if found is None or found[0] != owner:
                return False
            await connection.execute(delete(_overrides).where(_overrides.c.tenant == owner.id))
            return await tenants.remove(connection, owner)

    async def override(self, owner: Tenant, overrides: Limits, version: int) -> int:
        values = {name: getattr(overrides, name) for name in _NAMES} | {"version": version + 1}
        mine = _overrides.c.tenant == owner.id
        try:
            async with self._database.write() as connection:
                if await tenants.find(connection, owner.id) is None:
                    raise tenants.not_provisioned()
                found = (await connection.execute(select(_overrides.c.version).where(mine))).scalar() or 0
                if found != version:
                    raise _changed(str(found))
                if version == 0:
                    await connection.execute(insert(_overrides).values(tenant=owner.id, **values))
                else:
                    changed = update(_overrides).where(mine, _overrides.c.version == version).values(**values)
                    if (await connection.execute(changed)).rowcount == 0:
                        raise _changed("")  # PostgreSQL let another transaction write between our read and our write
                await audit_outbox.append(connection, owner, "UpdateQuotaLimits", owner.id)
                await changes.record(connection, KIND, owner.id)
        except Conflict:
            raise _changed("") from None
        return version + 1


def _changed(version: str) -> Aborted:
    now = {"version": version} if version else {}
    return Aborted(Reason.VERSION_CONFLICT, "the limits changed since that version; read them again", **now)
