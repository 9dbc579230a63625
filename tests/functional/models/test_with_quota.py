"""Models and quota in one process: calls at a provider take turns in the real queue, over the in-process channel."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.models.v1 import generation_service_pb2 as pb
from tenantry.api.models.v1 import model_service_pb2 as registry_pb
from tenantry.api.models.v1.generation_service_pb2_grpc import GenerationServiceStub
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.quota.v1 import queue_service_pb2 as queue_pb
from tenantry.api.quota.v1.queue_service_pb2_grpc import FairQueueServiceStub
from tenantry.api.quota.v1.reservation_service_pb2 import Receipt, ReserveQuotaRequest
from tenantry.api.quota.v1.reservation_service_pb2_grpc import ReservationServiceStub
from tenantry.kit.caller import Caller
from tenantry.kit.errors import PermissionDenied, Reason
from tenantry.kit.host import Hosted
from tenantry.models import server
from tenantry.models.settings import Settings
from tenantry.quota import server as quota_server
from tenantry.quota.settings import Settings as QuotaSettings
from tests.harness.poll import until
from tests.harness.provider import Reply, provider
from tests.harness.room import Served, caller_of, served

OPERATOR = caller_of("", "", scopes={"models.write", "limits.read", "limits.write"})
ACME, GLOBEX = (caller_of(f"{name}-seats", f"{name}-seats-org") for name in ("acme", "globex"))


@pytest.fixture
async def rooms(tmp_path: Path, valkey_books: str) -> AsyncIterator[Served]:
    models = Settings(f"sqlite+aiosqlite:///{tmp_path}/models.db", tmp_path / "models.key", loopback=True)
    quota = QuotaSettings(valkey_books, f"sqlite:///{tmp_path}/quota.db", tmp_path / "quota.key")
    hosted = (Hosted("models", server.build, models), Hosted("quota", quota_server.build, quota))
    async with served(*hosted, state=tmp_path, kind="inprocess") as room:
        for service in ("models", "quota"):
            for caller in (ACME, GLOBEX):
                await LifecycleServiceStub(room.channel(service, service="tenancy")).ProvisionTenant(
                    ProvisionTenantRequest(tenant=caller.tenant, organisation=caller.organisation, tier="pro")
                )
        yield room


async def receipt_of(room: Served, caller: Caller) -> Receipt:
    stub = ReservationServiceStub(room.channel("quota", service="gateway"))
    with room.calling(caller):
        request = ReserveQuotaRequest(nonce=secrets.token_hex(16), model="m", input_tokens=5)
        return (await stub.ReserveQuota(request)).receipt


async def generate(room: Served, caller: Caller, model: str, receipt: Receipt) -> str:
    given = pb.GenerationInput(model=model, max_output_tokens=20, receipt=receipt)
    given.messages.add(role=pb.ROLE_USER, text="How long?")
    stub = GenerationServiceStub(room.channel("models", service="gateway"))
    with room.calling(caller):
        return (await stub.GenerateContent(pb.GenerateContentRequest(input=given), timeout=20)).text


async def test_calls_at_a_provider_are_never_more_than_its_seats_and_all_are_answered(rooms: Served) -> None:
    async with provider() as running:
        name = f"seats-{running.port}"
        stub = ModelServiceStub(rooms.channel("models"))
        queue = FairQueueServiceStub(rooms.channel("quota"))
        pool: queue_pb.Pool = queue_pb.Pool(
            name=f"openai:{name}", capacity=2, input_weight=1, output_weight=2, most_waiting=100
        )
        with rooms.calling(OPERATOR):
            await queue.UpdatePool(queue_pb.UpdatePoolRequest(pool=pool))
            model = registry_pb.Model(
                model=name,
                provider=registry_pb.PROVIDER_OPENAI,
                provider_model=name,
                base_url=running.openai_url,
                max_output_tokens=50,
            )
            await stub.RegisterModel(registry_pb.RegisterModelRequest(model=model))
            await stub.SetProviderCredential(
                registry_pb.SetProviderCredentialRequest(
                    provider=registry_pb.PROVIDER_OPENAI, base_url=running.openai_url, credential="sk-1"
                )
            )
        callers = [ACME, GLOBEX] * 4
        receipts = [await receipt_of(rooms, caller) for caller in callers]
        running.reply = Reply(token_s=0.05)
        most = 0
        asked = asyncio.gather(
            *(generate(rooms, caller, name, receipt) for caller, receipt in zip(callers, receipts, strict=True))
        )

        async def use() -> queue_pb.PoolUse:
            with rooms.calling(OPERATOR):
                watched = queue.WatchQueue(queue_pb.WatchQueueRequest(pool=pool.name))
                seen = await anext(aiter(watched))
                watched.cancel()
            return seen.pool

        while not asked.done():
            most = max(most, (await use()).in_use)
        assert await asked == ["The provider's answer."] * len(callers)
        assert most == 2

        async def is_free() -> bool:
            return (await use()).in_use == 0

        await until(is_free)
        forged = receipts[0]
        forged.mac = b"\0" * 32
        with pytest.raises(PermissionDenied) as refused:
            await generate(rooms, ACME, name, forged)
        assert refused.value.reason == Reason.RECEIPT_INVALID
        assert len(running.requests) == len(callers)
