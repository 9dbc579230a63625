"""Which tenants a service was told to serve: a small table in each service's own SQL, written by the lifecycle contract."""

from sqlalchemy import Column, MetaData, Table, Text, delete, insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import changes
from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.kit.owner import Organisation, Tenant

# The kind under which the table's changes stand in the change log; the key is the tenant's id.
KIND = "tenant"
_metadata = MetaData()
_tenants = Table(
    "tenants",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("organisation", Text, nullable=False),
    Column("tier", Text, nullable=False),
)


def create_tables(connection: Connection) -> None:
    """The table, for a service's migration: `tenants.create_tables(op.get_bind())`."""
    _metadata.create_all(connection, checkfirst=False)


async def find(connection: AsyncConnection, tenant_id: str) -> tuple[Tenant, str] | None:
    """The tenant and its tier, or None when the service was not told to serve it."""
    query = select(_tenants.c.organisation, _tenants.c.tier).where(_tenants.c.tenant == tenant_id)
    row = (await connection.execute(query)).first()
    return None if row is None else (Tenant(row.organisation, tenant_id), row.tier)


async def has_any(connection: AsyncConnection, organisation: Organisation) -> bool:
    """Whether the service serves any tenant of the organisation."""
    query = select(_tenants.c.tenant).where(_tenants.c.organisation == organisation.id).limit(1)
    return (await connection.execute(query)).first() is not None


async def add(connection: AsyncConnection, tenant: Tenant, tier: str) -> bool:
    """Begin to serve the tenant; False if it was served already. Enters the change, so call it last."""
    known = await find(connection, tenant.id)
    if known is not None:
        if known[0] != tenant:
            raise FailedPrecondition(Reason.STORE_UNFIT, "the tenant is known here under another organisation")
        return False
    await connection.execute(insert(_tenants).values(tenant=tenant.id, organisation=tenant.organisation, tier=tier))
    await changes.record(connection, KIND, tenant.id)
    return True


async def remove(connection: AsyncConnection, tenant: Tenant) -> bool:
    """Serve the tenant no more; False if it was not served. Enters the change, so call it last."""
    gone = await connection.execute(delete(_tenants).where(_tenants.c.tenant == tenant.id))
    if gone.rowcount == 0:
        return False
    await changes.record(connection, KIND, tenant.id)
    return True


def not_provisioned() -> FailedPrecondition:
    """The refusal of a call for a tenant that is not in the table."""
    return FailedPrecondition(
        Reason.TENANT_NOT_PROVISIONED, "the tenant is not provisioned in this service; wait for its onboarding to end"
    )
