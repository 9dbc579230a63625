"""Quota's tenants in SQL: who is served, in which tier, with which limits of its own."""

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import audit_outbox, changes, tenants
from tenantry.kit.errors import Aborted, Conflict, Reason
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database
from tenantry.quota.entries import NO_OVERRIDES, TenantLimits, TenantSettings
from tenantry.quota.limit_changes import told_settings
from tenantry.quota.limit_rules import NAMES
from tenantry.quota.store_sql_rules import forget_rules, limits_in, rules_of

# The kind under which tenants and their limits stand in the change log; the key is the tenant's id.
KIND = tenants.KIND

_overrides = Table(
    "overrides",
    MetaData(),
    Column("tenant", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in NAMES),
    Column("time_zone", Text, nullable=False),
    Column("queue_weight", Integer, nullable=False),
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
            owner, tier = found
            rules = await rules_of(connection, owner)
            settings, version = await _settings_of(connection, tenant_id)
        return TenantLimits(
            owner.id,
            owner.organisation,
            tier,
            settings.overrides,
            version,
            settings.time_zone,
            settings.queue_weight,
            rules,
        )

    async def add(self, owner: Tenant, tier: str) -> bool:
        async with self._database.write() as connection:
            return await tenants.add(connection, owner, tier)

    async def remove(self, owner: Tenant) -> bool:
        async with self._database.write() as connection:
            found = await tenants.find(connection, owner.id)
            if found is None or found[0] != owner:
                return False
            await connection.execute(delete(_overrides).where(_overrides.c.tenant == owner.id))
            await forget_rules(connection, owner)
            return await tenants.remove(connection, owner)

    async def override(self, owner: Tenant, settings: TenantSettings, version: int) -> int:
        values = {name: getattr(settings.overrides, name) for name in NAMES} | {
            "time_zone": settings.time_zone,
            "queue_weight": settings.queue_weight,
            "version": version + 1,
        }
        mine = _overrides.c.tenant == owner.id
        try:
            async with self._database.write() as connection:
                if await tenants.find(connection, owner.id) is None:
                    raise tenants.not_provisioned()
                before, found = await _settings_of(connection, owner.id)
                if found != version:
                    raise _changed(str(found))
                if version == 0:
                    await connection.execute(insert(_overrides).values(tenant=owner.id, **values))
                else:
                    changed = update(_overrides).where(mine, _overrides.c.version == version).values(**values)
                    if (await connection.execute(changed)).rowcount == 0:
                        raise _changed("")  # PostgreSQL let another transaction write between our read and our write
                for told in told_settings(owner, before, settings):
                    await audit_outbox.append(connection, owner, "UpdateQuotaLimits", told)
                await changes.record(connection, KIND, owner.id)
        except Conflict:
            raise _changed("") from None
        return version + 1


async def _settings_of(connection: AsyncConnection, tenant_id: str) -> tuple[TenantSettings, int]:
    """A tenant's own settings and their version, 0 for none."""
    query = select(_overrides).where(_overrides.c.tenant == tenant_id)
    own = (await connection.execute(query)).mappings().first()
    if own is None:
        return TenantSettings(NO_OVERRIDES), 0
    return TenantSettings(limits_in(own), own["time_zone"], own["queue_weight"]), own["version"]


def _changed(version: str) -> Aborted:
    now = {"version": version} if version else {}
    return Aborted(Reason.VERSION_CONFLICT, "the limits changed since that version; read them again", **now)
