"""ModelService as its callers see it."""

import pytest

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import DeprovisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.models.v1 import model_service_pb2 as pb
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.kit.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from tests.harness.room import Served, caller_of

SCOPES = {"models.read", "models.write", "routing.write"}
ADMIN = caller_of(scopes=SCOPES)
OPERATOR = caller_of("", "", scopes=SCOPES)


def model_of(name: str, tenant: str = "", price: int = 1, region: str = "") -> pb.Model:
    return pb.Model(
        model=name,
        provider=pb.PROVIDER_OPENAI,
        provider_model="gpt",
        tenant=tenant,
        region=region,
        input_price_micros=price,
        max_output_tokens=100,
    )


async def register(room: Served, *models: pb.Model) -> None:
    with room.calling(OPERATOR):
        for model in models:
            await ModelServiceStub(room.channel()).RegisterModel(pb.RegisterModelRequest(model=model))


async def test_a_new_tenant_reaches_the_built_in_model_and_it_is_chosen(models: Served) -> None:
    stub = ModelServiceStub(models.channel(service="gateway"))
    with models.calling(caller_of(scopes={"generate"})):
        chosen = await stub.SelectModel(pb.SelectModelRequest())
    assert chosen.model.model == "extractive" and chosen.model.revision
    assert list(chosen.reasons) == ["extractive: chosen, since no other can be used"]


async def test_a_policy_prefers_denies_and_falls_back_and_the_choice_says_why(models: Served) -> None:
    await register(models, model_of("dear", price=9), model_of("cheap"), model_of("far", region="us"))
    stub = ModelServiceStub(models.channel())
    policy = pb.RoutingPolicy(
        denied_models=["cheap"], preferred_model="dear", fallback_models=["cheap", "extractive", "dear"]
    )
    with models.calling(ADMIN):
        updated = await stub.UpdateRoutingPolicy(pb.UpdateRoutingPolicyRequest(policy=policy))
        assert updated.version == 1
        assert (await stub.GetRoutingPolicy(pb.GetRoutingPolicyRequest())).policy == policy
        chosen = await stub.SelectModel(pb.SelectModelRequest())
        assert chosen.model.model == "dear" and list(chosen.fallbacks) == ["extractive"]
        assert [one.provider for one in chosen.fallback_models] == [pb.PROVIDER_EXTRACTIVE]
        assert "dear: chosen, since the policy prefers it" in chosen.reasons
        assert "cheap: not chosen: the policy denies it" in chosen.reasons
        assert (await stub.SelectModel(pb.SelectModelRequest(model="far"))).model.region == "us"
        with pytest.raises(PermissionDenied) as denied:
            await stub.SelectModel(pb.SelectModelRequest(model="cheap"))
        assert denied.value.metadata == {"model": "cheap"}
        with pytest.raises(NotFound):
            await stub.SelectModel(pb.SelectModelRequest(model="nothing"))


async def test_when_no_model_fits_the_policy_it_says_so(models: Served) -> None:
    stub = ModelServiceStub(models.channel())
    with models.calling(ADMIN):
        policy = pb.RoutingPolicy(allowed_providers=[pb.PROVIDER_ANTHROPIC])
        await stub.UpdateRoutingPolicy(pb.UpdateRoutingPolicyRequest(policy=policy))
        with pytest.raises(FailedPrecondition) as refused:
            await stub.SelectModel(pb.SelectModelRequest())
    assert refused.value.reason == "NO_MODEL"


async def test_a_policy_write_that_names_an_old_version_is_refused(models: Served) -> None:
    stub = ModelServiceStub(models.channel())
    with models.calling(ADMIN):
        await stub.UpdateRoutingPolicy(pb.UpdateRoutingPolicyRequest())
        with pytest.raises(Aborted):
            await stub.UpdateRoutingPolicy(pb.UpdateRoutingPolicyRequest())


async def test_a_policy_that_prefers_what_cannot_be_reached_is_refused(models: Served) -> None:
    stub = ModelServiceStub(models.channel())
    policy = pb.RoutingPolicy(preferred_model="nothing", denied_models=["BAD"], allowed_models=["a", "a"])
    with models.calling(ADMIN), pytest.raises(InvalidArgument) as refused:
        await stub.UpdateRoutingPolicy(pb.UpdateRoutingPolicyRequest(policy=policy))
    assert {field for field, _ in refused.value.violations} == {
        "policy.preferred_model",
        "policy.denied_models",
        "policy.allowed_models",
    }


async def test_a_registered_model_is_listed_in_pages_and_gone_when_deregistered(models: Served) -> None:
    await register(models, model_of("a"), model_of("z", tenant="acme"))
    stub = ModelServiceStub(models.channel())
    with models.calling(ADMIN):
        request = pb.ListModelsRequest()
        request.page.size = 2
        first = await stub.ListModels(request)
        request.page.token = first.page.next_token
        second = await stub.ListModels(request)
        assert [one.model for one in (*first.models, *second.models)] == ["a", "extractive", "z"]
        gone = pb.DeregisterModelRequest(tenant="acme", model="z")
        assert (await stub.DeregisterModel(gone)).removed_now
        assert not (await stub.DeregisterModel(gone)).removed_now
        assert len((await stub.ListModels(pb.ListModelsRequest())).models) == 2


async def test_an_id_that_is_taken_is_refused_the_built_in_one_too(models: Served) -> None:
    await register(models, model_of("gpt"), model_of("gpt"))
    for taken in (model_of("gpt", price=2), model_of("gpt", tenant="acme"), model_of("extractive")):
        with pytest.raises(AlreadyExists):
            await register(models, taken)


async def test_each_wrong_field_of_a_model_is_named(models: Served) -> None:
    bad = pb.Model(
        model="GPT 9",
        provider=pb.PROVIDER_OPENAI,
        provider_model="a b",
        base_url="ftp://x.example.com",
        region="EU!",
        input_price_micros=-1,
        output_price_micros=10**13,
    )
    with pytest.raises(InvalidArgument) as refused:
        await register(models, bad)
    assert {field for field, _ in refused.value.violations} == {
        "model.model",
        "model.provider_model",
        "model.base_url",
        "model.region",
        "model.input_price_micros",
        "model.output_price_micros",
        "model.max_output_tokens",
    }
    with pytest.raises(InvalidArgument):
        await register(models, pb.Model(model="x", provider_model="x", max_output_tokens=1))


async def test_what_all_tenants_share_is_an_operators_to_change(models: Served) -> None:
    stub = ModelServiceStub(models.channel())
    for caller in (ADMIN, caller_of("", "acme-org", scopes=SCOPES)):
        with models.calling(caller):
            for refused in (
                stub.RegisterModel(pb.RegisterModelRequest(model=model_of("x"))),
                stub.DeregisterModel(pb.DeregisterModelRequest(model="x")),
                stub.SetProviderCredential(pb.SetProviderCredentialRequest(provider=pb.PROVIDER_OPENAI)),
            ):
                with pytest.raises(PermissionDenied) as error:
                    await refused
                assert error.value.reason == "CALLER_NOT_ALLOWED"


async def test_a_deprovisioned_tenant_is_served_no_more(models: Served) -> None:
    await register(models, model_of("mine", tenant="acme"))
    lifecycle = LifecycleServiceStub(models.channel(service="tenancy"))
    gone = DeprovisionTenantRequest(tenant="acme", organisation="acme-org")
    did = await lifecycle.DeprovisionTenant(gone)
    assert did.did == "deleted 1 models, the policy and the credentials"
    assert (await lifecycle.DeprovisionTenant(gone)).did == "nothing to do"
    with models.calling(ADMIN), pytest.raises(FailedPrecondition):
        await ModelServiceStub(models.channel()).SelectModel(pb.SelectModelRequest())
