"""A provider's pool with one seat, and calls that share it: what `tenantry top` shows, and who waits in `tenantry ask`."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tenantry.api.gateway.v1 import gateway_service_pb2 as gateway_pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.models.v1 import model_service_pb2 as model_pb
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.quota.v1 import queue_service_pb2 as queue_pb
from tenantry.api.quota.v1.queue_service_pb2_grpc import FairQueueServiceStub
from tests.harness.mesh import RunningMesh
from tests.harness.provider import ProviderServer, Reply, provider


@dataclass
class Crowd:
    """A model whose answers take a minute, and its pool of one seat."""

    mesh: RunningMesh
    server: ProviderServer
    model: str
    streams: list[Any] = field(default_factory=list[Any])

    @property
    def pool(self) -> str:
        return f"openai:{self.model}"

    def call(self, key: str) -> None:
        """A question that nobody reads the answer of."""
        query = gateway_pb.GenerationQuery(
            question=f"Why {secrets.token_hex(4)}?", model=self.model, passages=-1, cache=gateway_pb.CACHE_USE_OFF
        )
        stub = self.mesh.stub(GatewayServiceStub, key)
        self.streams.append(stub.StreamGenerateContent(gateway_pb.StreamGenerateContentRequest(query=query)))


@asynccontextmanager
async def crowd(mesh: RunningMesh) -> AsyncIterator[Crowd]:
    """One, while the block runs."""
    async with provider() as server:
        server.reply = Reply("word " * 600, token_s=0.1)
        running = Crowd(mesh, server, f"crowd-{secrets.token_hex(4)}")
        model = model_pb.Model(
            model=running.model,
            provider=model_pb.PROVIDER_OPENAI,
            provider_model=running.model,
            base_url=server.openai_url,
            max_output_tokens=2_000,
        )
        pool: queue_pb.Pool = queue_pb.Pool(
            name=running.pool, capacity=1, input_weight=1, output_weight=2, most_waiting=100
        )
        models = mesh.stub(ModelServiceStub, mesh.operator_key)
        models.RegisterModel(model_pb.RegisterModelRequest(model=model))
        mesh.stub(FairQueueServiceStub, mesh.operator_key).UpdatePool(queue_pb.UpdatePoolRequest(pool=pool))
        try:
            yield running
        finally:
            for stream in running.streams:
                stream.cancel()
            # All tenants of the mesh would be given a model whose provider is gone.
            models.DeregisterModel(model_pb.DeregisterModelRequest(model=running.model))
