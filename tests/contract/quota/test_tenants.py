"""Quota's tenants on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenantry.kit.errors import Aborted, FailedPrecondition
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database, migrate
from tenantry.quota.entries import NO_OVERRIDES, Limits, TenantLimits, TenantSettings
from tenantry.quota.store_sql import SqlTenants

ACME = Tenant("acme-org", "acme")
OWN = TenantSettings(Limits(token_burst=10**8, cost_micros_per_month=10**14), "Asia/Kathmandu", 7)
NONE = TenantSettings(NO_OVERRIDES)


@pytest.fixture
async def tenants(sql_url: str) -> AsyncIterator[SqlTenants]:
    database = Database(sql_url, "quota")
    await migrate(database, "tenantry.quota.migrations")
    try:
        yield SqlTenants(database)
    finally:
        await database.close()


async def test_a_tenant_is_known_with_its_tier_until_it_is_removed(tenants: SqlTenants) -> None:
    assert await tenants.find("acme") is None
    assert await tenants.add(ACME, "pro") is True
    assert await tenants.add(ACME, "pro") is False
    assert await tenants.find("acme") == TenantLimits("acme", "acme-org", "pro", NO_OVERRIDES, 0)
    assert await tenants.remove(ACME) is True
    assert await tenants.remove(ACME) is False
    assert await tenants.find("acme") is None


async def test_an_id_that_is_known_under_another_organisation_is_refused_and_not_removed(tenants: SqlTenants) -> None:
    await tenants.add(ACME, "pro")
    with pytest.raises(FailedPrecondition):
        await tenants.add(Tenant("other-org", "acme"), "pro")
    assert await tenants.remove(Tenant("other-org", "acme")) is False
    assert await tenants.find("acme") is not None


async def test_a_write_names_the_version_it_read(tenants: SqlTenants) -> None:
    await tenants.add(ACME, "pro")
    assert await tenants.override(ACME, OWN, 0) == 1
    with pytest.raises(Aborted) as refused:
        await tenants.override(ACME, NONE, 0)
    assert refused.value.metadata == {"version": "1"}
    assert await tenants.override(ACME, NONE, 1) == 2
    assert await tenants.override(ACME, OWN, 2) == 3
    assert await tenants.find("acme") == TenantLimits("acme", "acme-org", "pro", OWN.overrides, 3, "Asia/Kathmandu", 7)


async def test_of_two_writes_that_read_the_same_version_one_is_refused(tenants: SqlTenants) -> None:
    await tenants.add(ACME, "pro")
    for version in (0, 1):
        writes = (tenants.override(ACME, OWN, version) for _ in range(4))
        answers = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(answer) for answer in answers].count(Aborted) == 3


async def test_a_tenant_that_is_made_again_has_none_of_its_old_limits(tenants: SqlTenants) -> None:
    await tenants.add(ACME, "pro")
    await tenants.override(ACME, OWN, 0)
    await tenants.remove(ACME)
    with pytest.raises(FailedPrecondition):
        await tenants.override(ACME, OWN, 0)
    await tenants.add(ACME, "free")
    assert await tenants.find("acme") == TenantLimits("acme", "acme-org", "free", NO_OVERRIDES, 0)
