"""TenantService: organisations, tenants and operations."""

from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from tenantry.api.tenancy.v1 import tenant_service_pb2 as pb
from tenantry.api.tenancy.v1 import tenant_service_pb2_grpc as grpc_pb
from tenantry.kit.ids import check_organisation_id, check_tenant_id
from tenantry.tenancy import checks
from tenantry.tenancy.audit import Refusals
from tenantry.tenancy.operations import Operations
from tenantry.tenancy.organisations import Organisations
from tenantry.tenancy.service import convert
from tenantry.tenancy.service.refused import noting
from tenantry.tenancy.tenants import NewTenant, Tenants

Context = aio.ServicerContext[Any, Any]


class TenantService(grpc_pb.TenantServiceServicer):
    """Serves the contract of the same name."""

    def __init__(
        self, organisations: Organisations, tenants: Tenants, operations: Operations, refusals: Refusals
    ) -> None:
        self._organisations = organisations
        self._tenants = tenants
        self._operations = operations
        self._refusals = refusals

    async def CreateOrganisation(
        self, request: pb.CreateOrganisationRequest, context: Context
    ) -> pb.CreateOrganisationResponse:
        with noting(self._refusals, "CreateOrganisation", request.organisation) as who:
            organisation_id = check_organisation_id(request.organisation)
            name = checks.display_name(request.display_name, organisation_id)
            made = await self._organisations.create(who, organisation_id, name)
        return pb.CreateOrganisationResponse(organisation=convert.organisation(made))

    async def GetOrganisation(self, request: pb.GetOrganisationRequest, context: Context) -> pb.GetOrganisationResponse:
        with noting(self._refusals, "GetOrganisation", request.organisation) as who:
            if request.organisation or not who.organisation:
                check_organisation_id(request.organisation)
            found = await self._organisations.get(who, request.organisation)
        return pb.GetOrganisationResponse(organisation=convert.organisation(found))

    async def ListOrganisations(
        self, request: pb.ListOrganisationsRequest, context: Context
    ) -> pb.ListOrganisationsResponse:
        with noting(self._refusals, "ListOrganisations") as who:
            found, token = await self._organisations.list(who, convert.page(request.page))
        organisations = [convert.organisation(one) for one in found]
        return pb.ListOrganisationsResponse(organisations=organisations, page=convert.next_page(token))

    async def CreateTenant(self, request: pb.CreateTenantRequest, context: Context) -> pb.CreateTenantResponse:
        with noting(self._refusals, "CreateTenant", request.tenant) as who:
            tenant_id = check_tenant_id(request.tenant)
            if request.organisation:
                check_organisation_id(request.organisation)
            name = checks.display_name(request.display_name, tenant_id)
            wanted = NewTenant(tenant_id, request.organisation, name, convert.tier_of(request.tier))
            operation = await self._tenants.create(who, wanted)
        return pb.CreateTenantResponse(operation=convert.operation(operation))

    async def GetTenant(self, request: pb.GetTenantRequest, context: Context) -> pb.GetTenantResponse:
        with noting(self._refusals, "GetTenant", request.tenant) as who:
            if request.tenant:
                check_tenant_id(request.tenant)
            found = await self._tenants.get(who, request.tenant)
        return pb.GetTenantResponse(tenant=convert.tenant(found))

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Context) -> pb.ListTenantsResponse:
        with noting(self._refusals, "ListTenants", request.organisation) as who:
            if request.organisation:
                check_organisation_id(request.organisation)
            found, token = await self._tenants.list(who, request.organisation, convert.page(request.page))
        return pb.ListTenantsResponse(tenants=[convert.tenant(one) for one in found], page=convert.next_page(token))

    async def DeleteTenant(self, request: pb.DeleteTenantRequest, context: Context) -> pb.DeleteTenantResponse:
        with noting(self._refusals, "DeleteTenant", request.tenant) as who:
            operation = await self._tenants.delete(who, check_tenant_id(request.tenant))
        return pb.DeleteTenantResponse(operation=convert.operation(operation))

    async def SuspendTenant(self, request: pb.SuspendTenantRequest, context: Context) -> pb.SuspendTenantResponse:
        with noting(self._refusals, "SuspendTenant", request.tenant) as who:
            suspended = await self._tenants.suspend(who, check_tenant_id(request.tenant))
        return pb.SuspendTenantResponse(tenant=convert.tenant(suspended))

    async def ResumeTenant(self, request: pb.ResumeTenantRequest, context: Context) -> pb.ResumeTenantResponse:
        with noting(self._refusals, "ResumeTenant", request.tenant) as who:
            resumed = await self._tenants.resume(who, check_tenant_id(request.tenant))
        return pb.ResumeTenantResponse(tenant=convert.tenant(resumed))

    async def GetOperation(self, request: pb.GetOperationRequest, context: Context) -> pb.GetOperationResponse:
        with noting(self._refusals, "GetOperation", request.operation) as who:
            found = await self._operations.get(who, checks.made_id(request.operation, "operation"))
        return pb.GetOperationResponse(operation=convert.operation(found))

    async def WatchOperation(
        self, request: pb.WatchOperationRequest, context: Context
    ) -> AsyncIterator[pb.WatchOperationResponse]:
        with noting(self._refusals, "WatchOperation", request.operation) as who:
            operation_id = checks.made_id(request.operation, "operation")
            async for operation in self._operations.watch(who, operation_id):
                yield pb.WatchOperationResponse(operation=convert.operation(operation))
