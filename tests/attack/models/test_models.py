"""Attacks on models: another tenant's models, policies and credentials, denied models, addresses inside, content in errors."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.models.v1 import generation_service_pb2 as generation_pb
from tenantry.api.models.v1 import model_service_pb2 as pb
from tenantry.api.models.v1.generation_service_pb2_grpc import GenerationServiceStub
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.quota.v1.reservation_service_pb2 import Receipt
from tenantry.kit import telemetry
from tenantry.kit.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    TenantryError,
)
from tenantry.kit.host import Hosted
from tenantry.models import server as models_server
from tenantry.models.settings import Settings
from tests.functional.models.conftest import models as models
from tests.functional.models.conftest import queue as queue
from tests.harness.directed_queue import QueueDirector
from tests.harness.provider import ProviderServer, Reply, provider
from tests.harness.room import Served, caller_of, served

SCOPES = {"generate", "models.read", "models.write", "routing.write"}
ACME = caller_of(scopes=SCOPES)
GLOBEX = caller_of("globex", "globex-org", scopes=SCOPES)
OPERATOR = caller_of("", "", scopes=SCOPES)
CANARY = "canary-4b1d"
OPENAI = pb.PROVIDER_OPENAI


def model_of(name: str, url: str, tenant: str = "") -> pb.Model:
    return pb.Model(
        model=name, provider=OPENAI, provider_model="gpt", tenant=tenant, base_url=url, max_output_tokens=100
    )


def asking(model: str, *fallbacks: str) -> generation_pb.GenerationInput:
    return generation_pb.GenerationInput(
        model=model,
        fallbacks=fallbacks,
        messages=[generation_pb.Message(role=generation_pb.ROLE_USER, text=f"why {CANARY}?")],
        passages=[generation_pb.SourcePassage(number=1, title=CANARY, text=f"Because of {CANARY}.")],
        max_output_tokens=10,
    )


@pytest.fixture
async def server(models: Served) -> AsyncIterator[ProviderServer]:
    """globex has a fine-tune of its own at this provider, with a credential of its own."""
    async with provider() as running:
        url = running.openai_url
        stub = ModelServiceStub(models.channel())
        with models.calling(GLOBEX):
            await stub.RegisterModel(pb.RegisterModelRequest(model=model_of("globex-tuned", url, "globex")))
            await stub.SetProviderCredential(
                pb.SetProviderCredentialRequest(
                    tenant="globex", provider=OPENAI, base_url=url, credential="sk-of-globex"
                )
            )
        yield running


async def generate(room: Served, given: generation_pb.GenerationInput) -> generation_pb.GenerateContentResponse:
    stub = GenerationServiceStub(room.channel(service="gateway"))
    return await stub.GenerateContent(generation_pb.GenerateContentRequest(input=given))


async def test_another_tenants_model_is_not_found_by_any_way(models: Served, server: ProviderServer) -> None:
    stub = ModelServiceStub(models.channel())
    with models.calling(ACME):
        with pytest.raises(NotFound):
            await stub.SelectModel(pb.SelectModelRequest(model="globex-tuned"))
        for given in (asking("globex-tuned"), asking("extractive", "globex-tuned")):
            with pytest.raises(NotFound) as refused:
                await generate(models, given)
            assert "globex" not in str(refused.value)
            streaming = GenerationServiceStub(models.channel(service="gateway")).StreamGenerateContent(
                generation_pb.StreamGenerateContentRequest(input=given)
            )
            with pytest.raises(NotFound):
                async for _ in streaming:
                    pass
        listed = await stub.ListModels(pb.ListModelsRequest())
        assert [one.model for one in listed.models] == ["extractive"]
        policy = pb.RoutingPolicy(preferred_model="globex-tuned", fallback_models=["globex-tuned"])
        with pytest.raises(InvalidArgument):
            await stub.UpdateRoutingPolicy(pb.UpdateRoutingPolicyRequest(policy=policy))
        chosen = await stub.SelectModel(pb.SelectModelRequest())
        assert "globex" not in " ".join(chosen.reasons)
    assert not server.requests


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("GetRoutingPolicy", pb.GetRoutingPolicyRequest(tenant="globex")),
        ("UpdateRoutingPolicy", pb.UpdateRoutingPolicyRequest(tenant="globex")),
        ("RegisterModel", pb.RegisterModelRequest(model=model_of("x", "", "globex"))),
        ("DeregisterModel", pb.DeregisterModelRequest(tenant="globex", model="globex-tuned")),
        ("SetProviderCredential", pb.SetProviderCredentialRequest(tenant="globex", provider=OPENAI, credential="x")),
    ],
)
async def test_naming_another_tenant_in_an_admin_request_is_not_found(
    models: Served, server: ProviderServer, rpc: str, request_: object
) -> None:
    call = getattr(ModelServiceStub(models.channel()), rpc)
    for caller in (ACME, caller_of("", "acme-org", scopes=SCOPES)):
        with models.calling(caller), pytest.raises(NotFound):
            await call(request_)


async def test_a_model_denied_by_policy_is_refused_even_when_the_gateway_asks(
    models: Served, server: ProviderServer
) -> None:
    stub = ModelServiceStub(models.channel())
    with models.calling(GLOBEX):
        denying = pb.RoutingPolicy(denied_models=["globex-tuned"])
        await stub.UpdateRoutingPolicy(pb.UpdateRoutingPolicyRequest(policy=denying))
        for given in (asking("globex-tuned"), asking("extractive", "globex-tuned")):
            with pytest.raises(PermissionDenied) as refused:
                await generate(models, given)
            assert refused.value.reason == "MODEL_DENIED" and refused.value.metadata == {"model": "globex-tuned"}
    assert not server.requests


async def test_a_model_that_the_key_is_not_allowed_is_refused(models: Served, server: ProviderServer) -> None:
    restricted = caller_of("globex", "globex-org", scopes=SCOPES, models=("extractive",))
    with models.calling(restricted):
        for given in (asking("globex-tuned"), asking("extractive", "globex-tuned")):
            with pytest.raises(PermissionDenied) as refused:
                await generate(models, given)
            assert refused.value.reason == "MODEL_DENIED"
        with pytest.raises(PermissionDenied):
            await ModelServiceStub(models.channel()).SelectModel(pb.SelectModelRequest(model="globex-tuned"))
    assert not server.requests


async def test_anothers_credential_is_never_used(models: Served, server: ProviderServer) -> None:
    with models.calling(ACME):
        stub = ModelServiceStub(models.channel())
        await stub.RegisterModel(pb.RegisterModelRequest(model=model_of("mine", server.openai_url, "acme")))
        await generate(models, asking("mine"))
    with models.calling(GLOBEX):
        await generate(models, asking("globex-tuned"))
    told = [one.headers["authorization"] for one in server.requests]
    assert told == ["Bearer none", "Bearer sk-of-globex"]


async def test_a_tenants_admin_cannot_spend_the_platforms_credential_by_registering_a_model(
    models: Served, server: ProviderServer
) -> None:
    stub = ModelServiceStub(models.channel())
    with models.calling(OPERATOR):
        for url in ("", server.openai_url):
            await stub.SetProviderCredential(
                pb.SetProviderCredentialRequest(provider=OPENAI, base_url=url, credential="sk-of-the-platform")
            )
    with models.calling(ACME):
        for name, url in (("free-1", ""), ("free-2", server.openai_url)):
            await stub.RegisterModel(pb.RegisterModelRequest(model=model_of(name, url, "acme")))
        with pytest.raises(FailedPrecondition):
            await generate(models, asking("free-1"))
        await generate(models, asking("free-2"))
    assert [one.headers["authorization"] for one in server.requests] == ["Bearer none"]


async def test_the_platforms_credential_serves_a_fine_tune_that_an_operator_registered(
    models: Served, server: ProviderServer
) -> None:
    stub = ModelServiceStub(models.channel())
    url = server.openai_url
    with models.calling(OPERATOR):
        await stub.RegisterModel(pb.RegisterModelRequest(model=model_of("acme-tuned", url, "acme")))
        await stub.SetProviderCredential(
            pb.SetProviderCredentialRequest(provider=OPENAI, base_url=url, credential="sk-of-the-platform")
        )
    with models.calling(ACME):
        await generate(models, asking("acme-tuned"))
    assert server.requests[0].headers["authorization"] == "Bearer sk-of-the-platform"


async def test_a_credential_is_not_sent_where_a_redirect_leads(models: Served, server: ProviderServer) -> None:
    async with provider() as elsewhere:
        server.reply = Reply(status=307, location=f"{elsewhere.openai_url}/chat/completions")
        with models.calling(GLOBEX), pytest.raises(TenantryError):
            await generate(models, asking("globex-tuned"))
        assert len(server.requests) == 1 and not elsewhere.requests


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/v1",
        "https://10.0.0.1",
        "http://metadata.google.internal",
        "https://x@10.0.0.1",
        "https://[::1]:1",
    ],
)
async def test_an_address_inside_is_refused_at_registration(tmp_path: Path, url: str) -> None:
    settings = Settings(f"sqlite+aiosqlite:///{tmp_path}/models.db", tmp_path / "models.key")
    async with served(Hosted("models", models_server.build, settings), state=tmp_path) as room:
        lifecycle = LifecycleServiceStub(room.channel(service="tenancy"))
        await lifecycle.ProvisionTenant(ProvisionTenantRequest(tenant="acme", organisation="acme-org", tier="pro"))
        with room.calling(ACME):
            stub = ModelServiceStub(room.channel())
            with pytest.raises(InvalidArgument):
                await stub.RegisterModel(pb.RegisterModelRequest(model=model_of("x", url, "acme")))
            with pytest.raises(InvalidArgument):
                await stub.SetProviderCredential(
                    pb.SetProviderCredentialRequest(tenant="acme", provider=OPENAI, base_url=url, credential="x")
                )


async def test_a_receipt_of_another_tenant_is_refused(models: Served) -> None:
    given = asking("extractive")
    given.receipt.CopyFrom(Receipt(reservation="r", tenant="globex"))
    with models.calling(ACME), pytest.raises(PermissionDenied) as refused:
        await generate(models, given)
    assert refused.value.reason == "RECEIPT_INVALID"


async def test_content_and_credentials_are_in_no_error_log_span_or_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spans = InMemorySpanExporter()
    settings = Settings(f"sqlite+aiosqlite:///{tmp_path}/models.db", tmp_path / "models.key", loopback=True)
    hosted = Hosted("models", models_server.build, settings)
    async with (
        provider() as server,
        served(hosted, QueueDirector().hosted(), state=tmp_path, exporters=(spans,)) as room,
    ):
        lifecycle = LifecycleServiceStub(room.channel(service="tenancy"))
        await lifecycle.ProvisionTenant(ProvisionTenantRequest(tenant="acme", organisation="acme-org", tier="pro"))
        stub = ModelServiceStub(room.channel())
        with room.calling(ACME):
            for provider_, url in ((OPENAI, server.openai_url), (pb.PROVIDER_ANTHROPIC, server.anthropic_url)):
                model = model_of(f"m{provider_}", url, "acme")
                model.provider = provider_
                await stub.RegisterModel(pb.RegisterModelRequest(model=model))
                await stub.SetProviderCredential(
                    pb.SetProviderCredentialRequest(
                        tenant="acme", provider=provider_, base_url=url, credential=f"sk-{CANARY}"
                    )
                )
                for reply in (
                    Reply(f"It is {CANARY}."),
                    Reply(status=400),
                    Reply(garbage=True),
                    Reply(CANARY, error_after=1),
                ):
                    server.reply = reply
                    try:
                        await generate(room, asking(model.model))
                        streaming = GenerationServiceStub(room.channel(service="gateway")).StreamGenerateContent(
                            generation_pb.StreamGenerateContentRequest(input=asking(model.model))
                        )
                        async for _ in streaming:
                            pass
                    except TenantryError as error:
                        assert CANARY not in f"{error} {error.metadata}"
        await asyncio.to_thread(telemetry.flush)
    found = spans.get_finished_spans()
    calls = [one for one in found if one.name == "chat gpt"]
    assert len(calls) == 12
    assert {str((one.attributes or {})["tenantry.tenant.id"]) for one in calls} == {"acme"}
    done = json.loads(calls[0].to_json())["attributes"]
    assert done["gen_ai.operation.name"] == "chat" and done["gen_ai.provider.name"] == "openai"
    assert (done["gen_ai.request.model"], done["gen_ai.response.model"]) == ("gpt", "provider-model-2026")
    assert (done["gen_ai.usage.input_tokens"], done["gen_ai.usage.output_tokens"]) == (11, 7)
    assert not any(CANARY in one.to_json() for one in found)
    assert not any(CANARY in one.getMessage() for one in caplog.records)
    assert not any(CANARY.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
