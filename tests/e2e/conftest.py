"""The two demo tenants on a shared mesh, as `make run` has them, but with names of this run's own."""

import asyncio
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.models.v1 import model_service_pb2 as model_pb
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tests.harness.mesh import RunningMesh, TenantKeys, stub_of
from tests.harness.provider import ProviderServer, provider

DEMO = Path(__file__).parents[2] / "deploy" / "demo"


@dataclass
class Client:
    """A tenant's program: a channel to the edge with its key."""

    mesh: RunningMesh
    keys: TenantKeys
    channel: grpc.Channel

    def ask(self, question: str, **more: Any) -> pb.GenerateContentResponse:
        """One question, one answer."""
        query = pb.GenerationQuery(question=question, **more)
        return stub_of(GatewayServiceStub, self.channel).GenerateContent(
            pb.GenerateContentRequest(query=query), timeout=60
        )

    def stream(self, question: str, **more: Any) -> Any:
        """One question, its answer as it comes."""
        query = pb.GenerationQuery(question=question, **more)
        request = pb.StreamGenerateContentRequest(query=query)
        return stub_of(GatewayServiceStub, self.channel).StreamGenerateContent(request, timeout=60)


def client_of(mesh: RunningMesh, name: str, documents: dict[str, str]) -> Client:
    """A new tenant with these documents."""
    keys = mesh.tenant(f"{name}-{secrets.token_hex(3)}")
    mesh.upload(keys.key, documents)
    return Client(mesh, keys, mesh.channel(keys.key))


def documents_of(tenant: str) -> dict[str, str]:
    """A demo tenant's documents by id."""
    return {path.stem: path.read_text() for path in sorted((DEMO / tenant).glob("*.md"))}


def questions() -> list[dict[str, Any]]:
    """The demo's questions, with what each tenant's answer must be."""
    return json.loads((DEMO / "questions.json").read_text())


@pytest.fixture(scope="session")
def demo(mesh: RunningMesh) -> dict[str, Client]:
    """acme and globex with their documents."""
    return {name: client_of(mesh, name, documents_of(name)) for name in ("acme", "globex")}


def register(client: Client, fake: ProviderServer, model: str, *, fallbacks: tuple[str, ...] = ()) -> None:
    """A model of this tenant's own at the provider, with what it falls back to."""
    models = stub_of(ModelServiceStub, client.channel)
    registered = model_pb.Model(
        model=model,
        provider=model_pb.PROVIDER_OPENAI,
        provider_model="echo",
        tenant=client.keys.tenant,
        base_url=fake.openai_url,
        input_price_micros=1_000_000,
        output_price_micros=2_000_000,
        max_output_tokens=1000,
    )
    models.RegisterModel(model_pb.RegisterModelRequest(model=registered))
    models.SetProviderCredential(
        model_pb.SetProviderCredentialRequest(
            tenant=client.keys.tenant,
            provider=model_pb.PROVIDER_OPENAI,
            base_url=fake.openai_url,
            credential="sk-test-credential",
        )
    )
    if fallbacks:
        policy = model_pb.RoutingPolicy(preferred_model=model, fallback_models=fallbacks)
        models.UpdateRoutingPolicy(model_pb.UpdateRoutingPolicyRequest(policy=policy))


@pytest.fixture
def fake() -> Iterator[ProviderServer]:
    """A provider in a thread of its own, so that a test may wait for an answer."""
    started: threading.Event = threading.Event()
    stop: asyncio.Event = asyncio.Event()
    found: list[tuple[ProviderServer, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        async with provider() as server:
            found.append((server, asyncio.get_running_loop()))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    server, loop = found[0]
    yield server
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
