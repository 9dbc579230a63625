"""More attacks on models: credentials at other addresses, ids in disguise, services that are not the gateway."""

from collections.abc import AsyncIterator

import pytest

from tenantry.api.models.v1 import generation_service_pb2 as generation_pb
from tenantry.api.models.v1 import model_service_pb2 as pb
from tenantry.api.models.v1.generation_service_pb2_grpc import GenerationServiceStub
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.kit.caller import Caller
from tenantry.kit.errors import InvalidArgument, PermissionDenied, Reason, Unauthenticated
from tests.functional.models.conftest import models as models
from tests.functional.models.conftest import queue as queue
from tests.harness.provider import ProviderServer, provider
from tests.harness.room import Served, caller_of

SCOPES = {"generate", "models.read", "models.write", "routing.write"}
OPENAI = pb.PROVIDER_OPENAI


def acme(*models: str) -> Caller:
    return caller_of(scopes=SCOPES, models=models)


def operator() -> Caller:
    return caller_of("", "", scopes=SCOPES)


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with provider() as running:
        yield running


async def register(room: Served, caller: Caller, name: str, url: str) -> None:
    model = pb.Model(
        model=name, provider=OPENAI, provider_model="gpt", tenant=caller.tenant, base_url=url, max_output_tokens=100
    )
    with room.calling(caller):
        await ModelServiceStub(room.channel()).RegisterModel(pb.RegisterModelRequest(model=model))


async def set_credential(room: Served, caller: Caller, credential: str, url: str) -> None:
    request = pb.SetProviderCredentialRequest(
        tenant=caller.tenant, provider=OPENAI, base_url=url, credential=credential
    )
    with room.calling(caller):
        await ModelServiceStub(room.channel()).SetProviderCredential(request)


def asking(model: str, *fallbacks: str) -> generation_pb.GenerateContentRequest:
    message = generation_pb.Message(role=generation_pb.ROLE_USER, text="why?")
    given = generation_pb.GenerationInput(model=model, fallbacks=fallbacks, messages=[message], max_output_tokens=50)
    return generation_pb.GenerateContentRequest(input=given)


async def generate(room: Served, caller: Caller, request: generation_pb.GenerateContentRequest) -> None:
    with room.calling(caller):
        await GenerationServiceStub(room.channel(service="gateway")).GenerateContent(request, timeout=10)


def keys_shown(server: ProviderServer) -> list[str]:
    return [one.headers.get("authorization", "").removeprefix("Bearer ") for one in server.requests]


async def test_a_credential_goes_to_the_address_that_it_was_set_for_and_to_no_other(
    models: Served, server: ProviderServer
) -> None:
    async with provider() as evil:
        await set_credential(models, acme(), "sk-acme", server.openai_url)
        await register(models, acme(), "stolen", evil.openai_url)
        await register(models, acme(), "near", f"{server.openai_url}/more")
        for name in ("stolen", "near"):
            await generate(models, acme(), asking(name))
        assert evil.requests and "sk-acme" not in str([one.headers for one in evil.requests])
        assert server.requests and "sk-acme" not in keys_shown(server)


async def test_a_removed_credential_is_used_no_more_and_a_new_one_at_once(
    models: Served, server: ProviderServer
) -> None:
    await register(models, operator(), "gpt", server.openai_url)
    await set_credential(models, operator(), "sk-platform", server.openai_url)
    for credential in ("sk-1", "sk-2", ""):
        await set_credential(models, acme(), credential, server.openai_url)
        await generate(models, acme(), asking("gpt"))
    assert keys_shown(server) == ["sk-1", "sk-2", "sk-platform"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_model_that_the_key_may_not_use_is_no_fallback_either(
    models: Served, server: ProviderServer, stream: bool
) -> None:
    await register(models, operator(), "gpt", server.openai_url)
    stub = GenerationServiceStub(models.channel(service="gateway"))
    given = asking("extractive", "gpt").input
    with models.calling(acme("extractive")), pytest.raises(PermissionDenied) as refused:
        if stream:
            async for _ in stub.StreamGenerateContent(generation_pb.StreamGenerateContentRequest(input=given)):
                pass
        else:
            await stub.GenerateContent(generation_pb.GenerateContentRequest(input=given))
    assert refused.value.reason is Reason.MODEL_DENIED and not server.requests


async def test_a_denial_holds_for_the_next_call_and_for_that_tenant_alone(
    models: Served, server: ProviderServer
) -> None:
    await register(models, operator(), "gpt", server.openai_url)
    await generate(models, acme(), asking("gpt"))
    denying = pb.UpdateRoutingPolicyRequest(policy=pb.RoutingPolicy(denied_models=["gpt"]))
    with models.calling(acme()):
        await ModelServiceStub(models.channel()).UpdateRoutingPolicy(denying)
    with pytest.raises(PermissionDenied):
        await generate(models, acme(), asking("gpt"))
    await generate(models, caller_of("globex", "globex-org"), asking("gpt"))
    assert len(server.requests) == 2


async def test_an_id_with_delimiters_or_lookalikes_is_refused_as_such(models: Served) -> None:
    for name in ("", "a\x00b", "GPT", "gpt ", "gрt", "gpt\n", "a\u2215b", "*", "g" * 129, "gpt;drop", "%00", "../é"):
        with pytest.raises(InvalidArgument):
            await register(models, acme(), name, "")
        with pytest.raises(InvalidArgument):
            await generate(models, acme(), asking(name))


async def test_nobody_but_the_gateway_with_a_caller_calls_a_provider(models: Served) -> None:
    for service in ("cache", "prompts", "models", "tenancy"):
        stub = GenerationServiceStub(models.channel(service=service))
        with models.calling(acme()), pytest.raises(PermissionDenied):
            await stub.GenerateContent(asking("extractive"))
    with models.calling(acme()), pytest.raises(Unauthenticated):
        await GenerationServiceStub(models.channel()).GenerateContent(asking("extractive"))
    with models.calling(None), pytest.raises(Unauthenticated):
        await GenerationServiceStub(models.channel(service="gateway")).GenerateContent(asking("extractive"))


async def test_a_caller_without_a_tenant_reaches_no_model(models: Served) -> None:
    with pytest.raises(PermissionDenied):
        await generate(models, operator(), asking("extractive"))
