"""What the request path remembers: no SQL for it, and what another replica changes is known within a second."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.models.v1 import model_service_pb2 as pb
from tenantry.api.models.v1.generation_service_pb2 import GenerateContentRequest
from tenantry.api.models.v1.generation_service_pb2_grpc import GenerationServiceStub
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.kit.errors import NotFound, PermissionDenied
from tenantry.kit.host import Hosted
from tenantry.models import server
from tenantry.models.settings import Settings
from tenantry.models.store_sql import SqlModelStore
from tests.functional.models.test_extractive import REFUND
from tests.harness.poll import until
from tests.harness.room import Served, caller_of, served

ADMIN = {"models.read", "models.write", "routing.write"}


async def test_selecting_and_generating_need_no_sql_once_the_tenant_is_remembered(
    models: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    load = SqlModelStore.load

    async def counted(self: SqlModelStore, owner: object) -> object:
        loads.append(owner)
        return await load(self, owner)  # type: ignore[arg-type]

    monkeypatch.setattr(SqlModelStore, "load", counted)
    select = ModelServiceStub(models.channel(service="gateway")).SelectModel
    generate = GenerationServiceStub(models.channel(service="gateway")).GenerateContent

    async def asked_without_sql() -> bool:
        loads.clear()
        with models.calling(caller_of()):
            await select(pb.SelectModelRequest())
            await generate(GenerateContentRequest(input=REFUND))
        return not loads

    await until(asked_without_sql)


async def test_what_one_replica_changes_another_knows_within_a_second(tmp_path: Path) -> None:
    settings = Settings(f"sqlite:///{tmp_path}/models.db", tmp_path / "models.key", loopback=True)
    hosted = Hosted("models", server.build, settings)
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(served(hosted, state=tmp_path / name)) for name in ("one", "other")
        ]
        await LifecycleServiceStub(one.channel(service="tenancy")).ProvisionTenant(
            ProvisionTenantRequest(tenant="acme", organisation="acme-org", tier="pro")
        )

        async def refused(error: type[Exception], model: str) -> bool:
            with other.calling(caller_of(scopes=ADMIN)):
                try:
                    await ModelServiceStub(other.channel()).SelectModel(pb.SelectModelRequest(model=model))
                except error:
                    return True
                return False

        model = pb.Model(model="tuned", provider=pb.PROVIDER_EXTRACTIVE, provider_model="x", max_output_tokens=9)
        with one.calling(caller_of("", "", scopes=ADMIN)):
            await ModelServiceStub(one.channel()).RegisterModel(pb.RegisterModelRequest(model=model))

        async def reached() -> bool:
            return not await refused(NotFound, "tuned")

        await until(reached, within_s=2)
        with one.calling(caller_of(scopes=ADMIN)):
            policy = pb.RoutingPolicy(denied_models=["tuned"])
            await ModelServiceStub(one.channel()).UpdateRoutingPolicy(pb.UpdateRoutingPolicyRequest(policy=policy))
        started = asyncio.get_running_loop().time()
        await until(lambda: refused(PermissionDenied, "tuned"), within_s=2)
        assert asyncio.get_running_loop().time() - started < 2
