"""tenancy as a process of its own, killed while it makes a tenant."""

import asyncio
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as pb
from tenantry.kit.errors import TenantryError
from tenantry.kit.host import hosting
from tenantry.kit.settings import MeshSettings
from tests.functional.tenancy.world import WITH_TENANTS, Town, World
from tests.harness.forked import Forked
from tests.harness.initialised import initialised
from tests.harness.poll import until
from tests.harness.ports import free_port


@contextmanager
def _process(state: Path, address: str, others: str) -> Generator[Forked]:
    addresses = {f"TENANTRY_{name.upper()}_ADDRESS": others for name in WITH_TENANTS}
    environment = {**os.environ, **addresses, "TENANTRY_STATE": str(state), "TENANTRY_LISTEN": address}
    process = Forked(["tenantry.tenancy"], environment, state / "log", state / "log")
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


async def test_a_tenant_is_made_by_the_process_after_the_one_that_was_killed(tmp_path: Path) -> None:
    settings = initialised(tmp_path)
    address, town = f"127.0.0.1:{free_port()}", Town()
    town.held["models"] = asyncio.Event()
    mesh = MeshSettings("127.0.0.1:0", "", {"tenancy": address}, tokens=settings.tokens, drain_s=1.0)
    async with hosting(town.hosted(), mesh) as others:
        with _process(tmp_path, address, others.mesh) as killed:
            world = World(address, settings, town)
            await until(lambda: _answers(world), 20)
            await world.organisation("acme-org")
            request = pb.CreateTenantRequest(tenant="acme", organisation="acme-org", tier=tenant_pb2.TIER_PRO)
            async with world.as_holder(world.operator):
                operation = (await world.tenants.CreateTenant(request)).operation.operation
            await until(lambda: _done(world, operation, 5))
            killed.kill()
            killed.wait(10)
        await world.close()
        asked = len(town.asked)
        town.held.pop("models").set()
        with _process(tmp_path, address, others.mesh):
            world = World(address, settings, town)
            await until(lambda: _answers(world), 20)
            await until(lambda: _done(world, operation, 6), 30, 0.2)
            _, secret = await world.key("acme")
            assert (await world.authenticate(secret)).tenant == "acme"
            assert town.asked[asked:] == [("provision", "models", "acme")]
            await world.close()
    assert settings.operator_key.read_text().encode() not in (tmp_path / "log").read_bytes()


async def _answers(world: World) -> bool:
    try:
        await world.authenticate(world.operator)
    except TenantryError:
        return False
    return True


async def _done(world: World, operation: str, count: int) -> bool:
    async with world.as_holder(world.operator):
        found = (await world.tenants.GetOperation(pb.GetOperationRequest(operation=operation))).operation
    return sum(step.state == tenant_pb2.OPERATION_STATE_DONE for step in found.steps) == count
