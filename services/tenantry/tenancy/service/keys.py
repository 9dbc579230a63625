"""KeyService: API keys for administrators."""

from typing import Any

from grpc import aio

from tenantry.api.tenancy.v1 import key_service_pb2 as pb
from tenantry.api.tenancy.v1 import key_service_pb2_grpc as grpc_pb
from tenantry.kit.errors import InvalidArgument
from tenantry.kit.ids import check_organisation_id, check_tenant_id
from tenantry.tenancy import checks
from tenantry.tenancy.api_keys import ApiKeys, NewKey
from tenantry.tenancy.audit import Refusals
from tenantry.tenancy.rights import Grant
from tenantry.tenancy.service import convert
from tenantry.tenancy.service.refused import noting

Context = aio.ServicerContext[Any, Any]


class KeyService(grpc_pb.KeyServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, keys: ApiKeys, refusals: Refusals) -> None:
        self._keys = keys
        self._refusals = refusals

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        with noting(self._refusals, "CreateApiKey", request.tenant or request.organisation) as who:
            key, secret = await self._keys.create(who, _wanted(request))
        return pb.CreateApiKeyResponse(key=convert.api_key(key), secret=secret)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Context) -> pb.ListApiKeysResponse:
        with noting(self._refusals, "ListApiKeys", request.tenant) as who:
            if request.tenant:
                check_tenant_id(request.tenant)
            found, token = await self._keys.list(who, request.tenant, convert.page(request.page))
        return pb.ListApiKeysResponse(keys=[convert.api_key(one) for one in found], page=convert.next_page(token))

    async def UpdateApiKey(self, request: pb.UpdateApiKeyRequest, context: Context) -> pb.UpdateApiKeyResponse:
        with noting(self._refusals, "UpdateApiKey", request.key_id) as who:
            if request.tenant:
                check_tenant_id(request.tenant)
            key_id = checks.made_id(request.key_id, "key_id")
            if request.version < 1:
                raise InvalidArgument("version", "is missing: name the one that was read")
            key = await self._keys.update(who, request.tenant, key_id, request.version, _grant(request))
        return pb.UpdateApiKeyResponse(key=convert.api_key(key))

    async def RotateApiKey(self, request: pb.RotateApiKeyRequest, context: Context) -> pb.RotateApiKeyResponse:
        with noting(self._refusals, "RotateApiKey", request.key_id) as who:
            if request.tenant:
                check_tenant_id(request.tenant)
            key_id, overlap_ns = checks.made_id(request.key_id, "key_id"), convert.overlap_ns(request)
            key, secret, replaced = await self._keys.rotate(who, request.tenant, key_id, overlap_ns)
        return pb.RotateApiKeyResponse(key=convert.api_key(key), secret=secret, replaced=convert.api_key(replaced))

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Context) -> pb.RevokeApiKeyResponse:
        with noting(self._refusals, "RevokeApiKey", request.key_id) as who:
            if request.tenant:
                check_tenant_id(request.tenant)
            key = await self._keys.revoke(who, request.tenant, checks.made_id(request.key_id, "key_id"))
        return pb.RevokeApiKeyResponse(key=convert.api_key(key))


def _wanted(request: pb.CreateApiKeyRequest) -> NewKey:
    if request.tenant:
        check_tenant_id(request.tenant)
    if request.organisation:
        check_organisation_id(request.organisation)
    return NewKey(request.tenant, request.organisation, checks.display_name(request.display_name, ""), _grant(request))


def _grant(request: pb.CreateApiKeyRequest | pb.UpdateApiKeyRequest) -> Grant:
    return Grant(
        scopes=checks.scopes(request.scopes),
        models=checks.models(request.models),
        collections=checks.collections(request.collections),
        expires_ns=convert.time_ns(request.expire_time, "expire_time") if request.HasField("expire_time") else None,
        networks=checks.networks(request.networks),
    )
