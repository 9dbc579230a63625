"""A whole mesh with one tenant, and the ways in which `path` and `memory` ask it: a hit, and misses of two models."""

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import aio

from tenantry.api.gateway.v1 import gateway_service_pb2 as gateway_pb
from tenantry.api.models.v1 import model_service_pb2 as model_pb
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.quota.limit_rules import MOST
from tests.bench.children import ROOT, environment
from tests.bench.load import closed_loop
from tests.harness.mesh import RunningMesh, Topology, running_mesh

PATH = "/tenantry.api.gateway.v1.GatewayService/GenerateContent"
QUESTION = "How long is the warranty on a C5 controller?"
SDK_MODEL = "loopback"
_TIMEOUT_S = 30.0


@dataclass
class Asked:
    """A running mesh and a client of it. Each way of asking awaits one whole answer."""

    mesh: RunningMesh
    key: str
    channel: aio.Channel

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self.asked = self.missed = 0
        self._metadata = (("authorization", f"Bearer {self.key}"),)
        self._call: Any = self.channel.unary_unary(
            PATH,
            gateway_pb.GenerateContentRequest.SerializeToString,
            gateway_pb.GenerateContentResponse.FromString,
        )

    async def hit(self) -> None:
        """The same question every time, answered from the cache."""
        answer = await self._ask("extractive")
        # The gateway goes on without a cache that is late, as it may be on a machine that is busy elsewhere.
        self.asked += 1
        self.missed += not answer.summary.usage.cache_hit

    async def extractive(self) -> None:
        """A new question every time: searched for, answered by the built-in model, stored in the cache."""
        answer = await self._ask("extractive", self._new())
        assert not answer.summary.usage.cache_hit and answer.summary.citations, answer

    async def sdk(self) -> None:
        """A new question every time, answered by the loopback provider through the openai SDK."""
        answer = await self._ask(SDK_MODEL, self._new())
        assert not answer.summary.usage.cache_hit and answer.summary.usage.model == SDK_MODEL, answer

    async def warm_up(self, calls: int) -> None:
        """Makes what the first calls make: connections, imports, the cached answer."""
        for way in self.ways.values():
            await closed_loop(way, 4, 5.0, calls)
        self.asked = self.missed = 0

    @property
    def ways(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {"hit": self.hit, "miss, extractive": self.extractive, "miss, openai SDK": self.sdk}

    def _new(self) -> str:
        """A locale that nobody had: answers in another are others, whatever the question."""
        return f"en-{next(self._numbers)}"

    async def _ask(self, model: str, locale: str = "") -> gateway_pb.GenerateContentResponse:
        query = gateway_pb.GenerationQuery(question=QUESTION, model=model, locale=locale)
        request = gateway_pb.GenerateContentRequest(query=query)
        return await self._call(request, timeout=_TIMEOUT_S, metadata=self._metadata)


async def bare(client: Any) -> None:
    """What every call through the SDK costs without Tenantry: the same provider, asked directly."""
    messages = [{"role": "user", "content": QUESTION}]
    await client.chat.completions.create(model="provider-model", messages=messages, max_tokens=1024)


@contextlib.contextmanager
def provider_process() -> Iterator[str]:
    """The loopback provider's address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.provider"], cwd=ROOT, env=environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def asked_mesh(topology: Topology, state: Path, sampling: float, provider: str) -> Iterator[tuple[RunningMesh, str]]:
    """A mesh and the key of a tenant with documents, the highest limits and a model at the loopback provider."""
    settings = {
        "TENANTRY_TRACE_RATIO": str(sampling),
        "TENANTRY_MODELS_LOOPBACK": "1",
        "TENANTRY_LOG_LEVEL": "WARNING",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    with running_mesh(topology, state, envoy=False, **settings) as mesh:
        yield mesh, tenant_of(mesh, provider)


def tenant_of(mesh: RunningMesh, provider: str) -> str:
    """A tenant's admin key."""
    tenant = mesh.tenant("acme")
    demo = sorted((ROOT / "deploy/demo/acme").glob("*.md"))
    mesh.upload(tenant.key, {path.name: path.read_text() for path in demo})
    limits = limit_pb.QuotaLimits(
        requests_per_minute=MOST.requests_per_minute,
        request_burst=MOST.request_burst,
        tokens_per_minute=MOST.tokens_per_minute,
        token_burst=MOST.token_burst,
        concurrent_requests=MOST.concurrent_requests,
    )
    request = limit_pb.UpdateQuotaLimitsRequest(tenant=tenant.tenant, overrides=limits)
    mesh.stub(LimitServiceStub, mesh.operator_key).UpdateQuotaLimits(request)
    models, url = mesh.stub(ModelServiceStub, mesh.operator_key), f"{provider}/v1"
    model = model_pb.Model(
        model=SDK_MODEL,
        provider=model_pb.PROVIDER_OPENAI,
        provider_model="provider-model",
        tenant=tenant.tenant,
        base_url=url,
        max_output_tokens=1024,
    )
    models.RegisterModel(model_pb.RegisterModelRequest(model=model))
    models.SetProviderCredential(
        model_pb.SetProviderCredentialRequest(
            tenant=tenant.tenant, provider=model_pb.PROVIDER_OPENAI, base_url=url, credential="sk-bench"
        )
    )
    return tenant.key
