"""A prompts service over the network, with two tenants."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.kit.host import Hosted
from tenantry.prompts import server
from tenantry.prompts.settings import Settings
from tests.harness.room import Served, served


@pytest.fixture
async def prompts(tmp_path: Path) -> AsyncIterator[Served]:
    settings = Settings(sql_url=f"sqlite+aiosqlite:///{tmp_path}/prompts.db")
    async with served(Hosted("prompts", server.build, settings), state=tmp_path, kind="network") as room:
        lifecycle = LifecycleServiceStub(room.channel(service="tenancy"))
        for tenant in ("acme", "globex"):
            await lifecycle.ProvisionTenant(
                ProvisionTenantRequest(tenant=tenant, organisation=f"{tenant}-org", tier="pro")
            )
        yield room
