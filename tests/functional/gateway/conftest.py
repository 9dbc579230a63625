"""The gateway among real prompts, quota, cache and retrieval, and models that the test directs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.quota.v1 import settlement_service_pb2 as settlement_pb
from tenantry.api.quota.v1.settlement_service_pb2_grpc import SettlementServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.cache import server as cache_server
from tenantry.cache.settings import Settings as CacheSettings
from tenantry.gateway import server
from tenantry.gateway.settings import Settings
from tenantry.kit.caller import Caller
from tenantry.kit.host import Hosted
from tenantry.kit.ids import new_id
from tenantry.prompts import server as prompts_server
from tenantry.prompts.settings import Settings as PromptSettings
from tenantry.quota import server as quota_server
from tenantry.quota.settings import Settings as QuotaSettings
from tenantry.retrieval import server as retrieval_server
from tenantry.retrieval.settings import Settings as RetrievalSettings
from tests.functional.gateway import directed_models
from tests.functional.gateway.directed_models import Director
from tests.harness.room import Served, caller_of, served

SCOPES = {"generate", "documents.write", "documents.read", "prompts.write", "prompts.read"}


@dataclass
class House:
    """The running rooms, two tenants' callers with ids of their own, and who directs the models."""

    room: Served
    director: Director
    acme: Caller
    globex: Caller

    async def upload(self, who: Caller, text: str, document: str = "refunds.md") -> None:
        stub = DocumentServiceStub(self.room.channel("retrieval"))
        request = document_pb.UpsertDocumentsRequest(document=document, text=text.encode())
        with self.room.calling(who):
            answers = [one async for one in stub.UpsertDocuments(iter([request]))]
        assert answers[0].outcome != document_pb.UPSERT_OUTCOME_REFUSED

    async def settled(self, count: int) -> Sequence[settlement_pb.SettledUsage]:
        """The next settled entries of both tenants, as insight would read them."""
        stub = SettlementServiceStub(self.room.channel("quota", service="insight"))
        stream = stub.StreamSettledUsage()
        await stream.write(settlement_pb.StreamSettledUsageRequest())
        mine: dict[str, settlement_pb.SettledUsage] = {}
        async with asyncio.timeout(10):
            while len(mine) < count:
                batch = await stream.read()
                assert isinstance(batch, settlement_pb.StreamSettledUsageResponse)
                wanted = (one for one in batch.entries if one.tenant in (self.acme.tenant, self.globex.tenant))
                mine |= {one.reservation: one for one in wanted}
                await stream.write(settlement_pb.StreamSettledUsageRequest(cursors=[batch.cursor]))
        stream.cancel()
        return list(mine.values())


@pytest.fixture
def tokenizers() -> Path | None:
    """The gateway's folder of vocabularies."""
    return None


@pytest.fixture
async def house(tmp_path: Path, valkey_books: str, valkey_cache: str, tokenizers: Path | None) -> AsyncIterator[House]:
    director = Director()
    hosted = (
        Hosted("gateway", server.build, Settings(renew_every_s=0.2, tokenizers=tokenizers)),
        Hosted("prompts", prompts_server.build, PromptSettings(f"sqlite:///{tmp_path}/prompts.db")),
        Hosted(
            "quota",
            quota_server.build,
            QuotaSettings(valkey_books, f"sqlite:///{tmp_path}/quota.db", tmp_path / "q.key"),
        ),
        Hosted("cache", cache_server.build, CacheSettings(valkey_cache, tmp_path / "c.key")),
        Hosted("retrieval", retrieval_server.build, RetrievalSettings(tmp_path / "d", f"sqlite:///{tmp_path}/r.db")),
        Hosted("models", directed_models.build, director),
    )
    names = [f"{name}-{new_id('x')[-8:]}" for name in ("acme", "globex")]
    acme, globex = (caller_of(name, f"{name}-org", scopes=SCOPES) for name in names)
    async with served(*hosted, state=tmp_path) as room:
        for name in names:
            for service in ("prompts", "quota", "cache", "retrieval"):
                stub = LifecycleServiceStub(room.channel(service, service="tenancy"))
                await stub.ProvisionTenant(
                    ProvisionTenantRequest(tenant=name, organisation=f"{name}-org", tier="enterprise")
                )
        yield House(room, director, acme, globex)
