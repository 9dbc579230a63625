"""IssuerService: OIDC issuers for administrators."""

from typing import Any

from grpc import aio

from tenantry.api.tenancy.v1 import issuer_service_pb2 as pb
from tenantry.api.tenancy.v1 import issuer_service_pb2_grpc as grpc_pb
from tenantry.kit.ids import check_tenant_id
from tenantry.tenancy import checks
from tenantry.tenancy.audit import Refusals
from tenantry.tenancy.issuers import Issuers, NewIssuer
from tenantry.tenancy.rights import Grant
from tenantry.tenancy.service import convert
from tenantry.tenancy.service.refused import noting

Context = aio.ServicerContext[Any, Any]


class IssuerService(grpc_pb.IssuerServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, issuers: Issuers, refusals: Refusals) -> None:
        self._issuers = issuers
        self._refusals = refusals

    async def RegisterIssuer(self, request: pb.RegisterIssuerRequest, context: Context) -> pb.RegisterIssuerResponse:
        with noting(self._refusals, "RegisterIssuer", request.tenant) as who:
            issuer = await self._issuers.register(who, _wanted(request))
        return pb.RegisterIssuerResponse(issuer=convert.issuer(issuer))

    async def ListIssuers(self, request: pb.ListIssuersRequest, context: Context) -> pb.ListIssuersResponse:
        with noting(self._refusals, "ListIssuers", request.tenant) as who:
            if request.tenant:
                check_tenant_id(request.tenant)
            found, token = await self._issuers.list(who, request.tenant, convert.page(request.page))
        return pb.ListIssuersResponse(issuers=[convert.issuer(one) for one in found], page=convert.next_page(token))

    async def RemoveIssuer(self, request: pb.RemoveIssuerRequest, context: Context) -> pb.RemoveIssuerResponse:
        with noting(self._refusals, "RemoveIssuer", request.issuer_id) as who:
            if request.tenant:
                check_tenant_id(request.tenant)
            issuer = await self._issuers.remove(who, request.tenant, checks.made_id(request.issuer_id, "issuer_id"))
        return pb.RemoveIssuerResponse(issuer=convert.issuer(issuer))


def _wanted(request: pb.RegisterIssuerRequest) -> NewIssuer:
    if request.tenant:
        check_tenant_id(request.tenant)
    grant = Grant(
        scopes=checks.scopes(request.scopes),
        models=checks.models(request.models),
        collections=checks.collections(request.collections),
        networks=checks.networks(request.networks),
    )
    audience = checks.audience(request.audience)
    return NewIssuer(request.tenant, request.url, audience, grant, request.narrow_by_scope_claim)
