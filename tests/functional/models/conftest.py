"""A models service over the network, with two tenants, a queue that the test directs, and a provider on the loopback."""

from collections.abc import AsyncIterator
from pathlib import Path

import anthropic  # noqa: F401 - imported before the tests, whose short deadlines would pass meanwhile
import openai  # noqa: F401
import pytest

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.kit.host import Hosted
from tenantry.models import server
from tenantry.models.settings import Settings
from tests.harness.directed_queue import QueueDirector
from tests.harness.room import Served, served


@pytest.fixture
def queue() -> QueueDirector:
    """The queue in front of the providers: it grants at once, unless a test says otherwise."""
    return QueueDirector()


@pytest.fixture
async def models(tmp_path: Path, queue: QueueDirector) -> AsyncIterator[Served]:
    settings = Settings(f"sqlite+aiosqlite:///{tmp_path}/models.db", tmp_path / "models.key", loopback=True)
    hosted = (Hosted("models", server.build, settings), queue.hosted())
    async with served(*hosted, state=tmp_path, kind="network") as room:
        lifecycle = LifecycleServiceStub(room.channel(service="tenancy"))
        for tenant in ("acme", "globex"):
            await lifecycle.ProvisionTenant(
                ProvisionTenantRequest(tenant=tenant, organisation=f"{tenant}-org", tier="pro")
            )
        yield room
