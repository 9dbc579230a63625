"""The lifecycle contract, which every service with tenant state serves: checks the ids, then hands on to the use case."""

from collections.abc import Awaitable, Callable
from typing import Any

from grpc import aio

from tenantry.api.lifecycle.v1 import lifecycle_service_pb2 as pb
from tenantry.api.lifecycle.v1 import lifecycle_service_pb2_grpc as grpc_pb
from tenantry.kit.errors import InvalidArgument
from tenantry.kit.ids import check_organisation_id, check_tenant_id
from tenantry.kit.owner import Tenant

TIERS = ("free", "pro", "enterprise")
add_to_server = grpc_pb.add_LifecycleServiceServicer_to_server


class LifecycleService(grpc_pb.LifecycleServiceServicer):
    """`provision` gets the tenant and its tier, `deprovision` the tenant; each says in a short sentence what it did."""

    def __init__(
        self,
        provision: Callable[[Tenant, str], Awaitable[str]],
        deprovision: Callable[[Tenant], Awaitable[str]],
    ) -> None:
        self._provision = provision
        self._deprovision = deprovision

    async def ProvisionTenant(
        self, request: pb.ProvisionTenantRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ProvisionTenantResponse:
        if request.tier not in TIERS:
            raise InvalidArgument("tier", f"is not one of {', '.join(TIERS)}")
        return pb.ProvisionTenantResponse(did=await self._provision(_tenant(request), request.tier))

    async def DeprovisionTenant(
        self, request: pb.DeprovisionTenantRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.DeprovisionTenantResponse:
        return pb.DeprovisionTenantResponse(did=await self._deprovision(_tenant(request)))


def _tenant(request: pb.ProvisionTenantRequest | pb.DeprovisionTenantRequest) -> Tenant:
    return Tenant(check_organisation_id(request.organisation), check_tenant_id(request.tenant))
