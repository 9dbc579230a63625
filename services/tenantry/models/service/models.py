"""ModelService: protobuf to use case and back."""

from typing import Any

from grpc import aio

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.models.v1 import model_service_pb2 as pb
from tenantry.api.models.v1 import model_service_pb2_grpc as grpc_pb
from tenantry.kit import caller, paging
from tenantry.kit.errors import InvalidArgument, PermissionDenied, Reason
from tenantry.kit.owner import Platform, Tenant
from tenantry.models.model import Model, Owner, Policy, Provider
from tenantry.models.registry import Registry
from tenantry.models.store import ModelStore

Context = aio.ServicerContext[Any, Any]
_PROVIDERS: dict[int, Provider] = {
    pb.PROVIDER_EXTRACTIVE: Provider.EXTRACTIVE,
    pb.PROVIDER_OPENAI: Provider.OPENAI,
    pb.PROVIDER_ANTHROPIC: Provider.ANTHROPIC,
}
_NUMBERS: dict[Provider, pb.Provider.ValueType] = {
    Provider.EXTRACTIVE: pb.PROVIDER_EXTRACTIVE,
    Provider.OPENAI: pb.PROVIDER_OPENAI,
    Provider.ANTHROPIC: pb.PROVIDER_ANTHROPIC,
}


class ModelService(grpc_pb.ModelServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, registry: Registry, store: ModelStore) -> None:
        self._registry = registry
        self._store = store

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        size = paging.size_of(request.page.size)
        position = paging.position_of(request.page.token, [str])
        after = str(position[0]) if position else ""
        found = await self._registry.models(caller.owner(), caller.current().models, after, size + 1)
        token = paging.token_of(found[size - 1].model) if len(found) > size else ""
        return pb.ListModelsResponse(
            models=[model_message(one) for one in found[:size]], page=paging_pb2.PageResponse(next_token=token)
        )

    async def SelectModel(self, request: pb.SelectModelRequest, context: Context) -> pb.SelectModelResponse:
        choice = await self._registry.select(caller.owner(), caller.current().models, request.model)
        return pb.SelectModelResponse(
            model=model_message(choice.model),
            fallbacks=[one.model for one in choice.fallbacks],
            reasons=choice.reasons,
            fallback_models=[model_message(one) for one in choice.fallbacks],
        )

    async def GetRoutingPolicy(
        self, request: pb.GetRoutingPolicyRequest, context: Context
    ) -> pb.GetRoutingPolicyResponse:
        policy, version = await self._registry.policy(await self._named(request.tenant))
        return pb.GetRoutingPolicyResponse(policy=_policy(policy), version=version)

    async def UpdateRoutingPolicy(
        self, request: pb.UpdateRoutingPolicyRequest, context: Context
    ) -> pb.UpdateRoutingPolicyResponse:
        policy = _policy_of(request.policy)
        version = await self._registry.update_policy(await self._named(request.tenant), policy, request.version)
        return pb.UpdateRoutingPolicyResponse(policy=request.policy, version=version)

    async def RegisterModel(self, request: pb.RegisterModelRequest, context: Context) -> pb.RegisterModelResponse:
        owner = await self._owner(request.model.tenant)
        model = _model_of(request.model, by_operator=_is_operator())
        return pb.RegisterModelResponse(model=model_message(await self._registry.register(owner, model)))

    async def DeregisterModel(self, request: pb.DeregisterModelRequest, context: Context) -> pb.DeregisterModelResponse:
        removed = await self._registry.deregister(await self._owner(request.tenant), request.model)
        return pb.DeregisterModelResponse(removed_now=removed)

    async def SetProviderCredential(
        self, request: pb.SetProviderCredentialRequest, context: Context
    ) -> pb.SetProviderCredentialResponse:
        owner = await self._owner(request.tenant)
        provider = _provider_of(request.provider, "provider")
        await self._registry.set_credential(owner, provider, request.base_url, request.credential)
        return pb.SetProviderCredentialResponse()

    async def _named(self, tenant_id: str) -> Tenant:
        return await caller.named_tenant(tenant_id, self._store.find_tenant)

    async def _owner(self, tenant_id: str) -> Owner:
        if tenant_id:
            return await self._named(tenant_id)
        if not _is_operator():
            message = "only an operator may change what all tenants share; name the tenant"
            raise PermissionDenied(Reason.CALLER_NOT_ALLOWED, message)
        return Platform()


def _is_operator() -> bool:
    current = caller.current()
    return not current.tenant and not current.organisation


def _provider_of(number: int, field: str) -> Provider:
    if number not in _PROVIDERS:
        raise InvalidArgument(field, "is missing or not known")
    return _PROVIDERS[number]


def _model_of(model: pb.Model, *, by_operator: bool) -> Model:
    return Model(
        model.model,
        _provider_of(model.provider, "model.provider"),
        model.provider_model,
        model.tenant,
        model.base_url,
        model.region,
        model.input_price_micros,
        model.output_price_micros,
        model.max_output_tokens,
        by_operator,
        model.cached_input_price_micros,
    )


def model_message(model: Model) -> pb.Model:
    """The contract's model."""
    return pb.Model(
        model=model.model,
        provider=_NUMBERS[model.provider],
        provider_model=model.provider_model,
        tenant=model.tenant,
        base_url=model.base_url,
        region=model.region,
        input_price_micros=model.input_price_micros,
        output_price_micros=model.output_price_micros,
        max_output_tokens=model.max_output_tokens,
        revision=model.revision,
        cached_input_price_micros=model.cached_input_price_micros,
    )


def _policy_of(policy: pb.RoutingPolicy) -> Policy:
    return Policy(
        tuple(_provider_of(one, "policy.allowed_providers") for one in policy.allowed_providers),
        tuple(policy.allowed_models),
        tuple(policy.denied_models),
        tuple(policy.allowed_regions),
        policy.preferred_model,
        tuple(policy.fallback_models),
    )


def _policy(policy: Policy) -> pb.RoutingPolicy:
    return pb.RoutingPolicy(
        allowed_providers=[_NUMBERS[one] for one in policy.allowed_providers],
        allowed_models=policy.allowed_models,
        denied_models=policy.denied_models,
        allowed_regions=policy.allowed_regions,
        preferred_model=policy.preferred_model,
        fallback_models=policy.fallback_models,
    )
