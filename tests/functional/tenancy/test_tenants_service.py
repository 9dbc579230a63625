"""Organisations, tenants and their operations, as administrators see them."""

from typing import Any

import pytest

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as pb
from tenantry.kit.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    Unauthenticated,
)
from tenantry.tenancy.roles import ORGANISATION_ADMIN, ROLES
from tests.functional.tenancy.world import WITH_TENANTS, World

PRO = tenant_pb2.TIER_PRO
UNKNOWN_TIER: Any = 77


async def test_a_tenant_is_made_step_by_step_and_then_served(tenancy: World) -> None:
    tenancy.town.away["cache"] = 1
    await tenancy.organisation("acme-org")
    async with tenancy.as_holder(tenancy.operator):
        request = pb.CreateTenantRequest(tenant="acme", organisation="acme-org", tier=tenant_pb2.TIER_PRO)
        accepted = (await tenancy.tenants.CreateTenant(request)).operation
        assert accepted.kind == tenant_pb2.OPERATION_KIND_CREATE_TENANT
        assert [step.service for step in accepted.steps] == list(WITH_TENANTS)
        _, secret = await tenancy.key("acme")
        with pytest.raises(FailedPrecondition) as refused:
            await tenancy.authenticate(secret)
        assert refused.value.reason is Reason.TENANT_NOT_ACTIVE
        assert refused.value.metadata == {"state": "CREATING"}
        states = await tenancy.ended(accepted.operation)
        assert states[-1].state == tenant_pb2.OPERATION_STATE_DONE and states[-1].HasField("end_time")
        steps = {step.service: step for step in states[-1].steps}
        assert steps["cache"].attempts == 2 and steps["cache"].did == "provision: done for acme"
        tenant = (await tenancy.tenants.GetTenant(pb.GetTenantRequest(tenant="acme"))).tenant
        assert (tenant.state, tenant.tier) == (tenant_pb2.TENANT_STATE_ACTIVE, tenant_pb2.TIER_PRO)
        assert (tenant.organisation, tenant.display_name) == ("acme-org", "acme")
        again = (await tenancy.tenants.CreateTenant(request)).operation
        assert again.operation == accepted.operation
    assert (await tenancy.authenticate(secret)).tenant == "acme"


async def test_a_deleted_tenant_is_refused_at_once_and_its_id_is_never_given_out_again(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    _, secret = await tenancy.key("acme")
    assert (await tenancy.authenticate(secret)).tenant == "acme"
    async with tenancy.as_holder(tenancy.operator):
        deleted = (await tenancy.tenants.DeleteTenant(pb.DeleteTenantRequest(tenant="acme"))).operation
        with pytest.raises(Unauthenticated):
            await tenancy.authenticate(secret)
        states = await tenancy.ended(deleted.operation)
        assert next(step.service for step in states[-1].steps) == "quota"
        assert {name for what, name, _ in tenancy.town.asked if what == "deprovision"} == set(WITH_TENANTS)
        tenant = (await tenancy.tenants.GetTenant(pb.GetTenantRequest(tenant="acme"))).tenant
        assert tenant.state == tenant_pb2.TENANT_STATE_DELETED
        assert len((await tenancy.tenants.ListTenants(pb.ListTenantsRequest())).tenants) == 0
        again = (await tenancy.tenants.DeleteTenant(pb.DeleteTenantRequest(tenant="acme"))).operation
        assert again.operation == deleted.operation
        with pytest.raises(AlreadyExists):
            request = pb.CreateTenantRequest(tenant="acme", organisation="acme-org", tier=tenant_pb2.TIER_PRO)
            await tenancy.tenants.CreateTenant(request)


async def test_what_is_asked_again_differently_is_refused(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    await tenancy.organisation("globex-org")
    async with tenancy.as_holder(tenancy.operator):
        for organisation, tier in (("acme-org", tenant_pb2.TIER_FREE), ("globex-org", tenant_pb2.TIER_PRO)):
            with pytest.raises(AlreadyExists):
                await tenancy.tenants.CreateTenant(
                    pb.CreateTenantRequest(tenant="acme", organisation=organisation, tier=tier)
                )
        with pytest.raises(AlreadyExists):
            await tenancy.tenants.CreateOrganisation(
                pb.CreateOrganisationRequest(organisation="acme-org", display_name="Another")
            )
        with pytest.raises(NotFound):
            await tenancy.tenants.CreateTenant(
                pb.CreateTenantRequest(tenant="new", organisation="nowhere", tier=tenant_pb2.TIER_PRO)
            )


async def test_an_organisations_admin_runs_its_own_tenants(tenancy: World) -> None:
    await tenancy.tenant("globex", "globex-org")
    await tenancy.organisation("acme-org")
    _, secret = await tenancy.key(organisation="acme-org", scopes=ROLES[ORGANISATION_ADMIN])
    async with tenancy.as_holder(secret):
        made = await tenancy.tenants.CreateTenant(pb.CreateTenantRequest(tenant="acme", tier=tenant_pb2.TIER_FREE))
        await tenancy.ended(made.operation.operation)
        tenants = (await tenancy.tenants.ListTenants(pb.ListTenantsRequest())).tenants
        assert [tenant.tenant for tenant in tenants] == ["acme"]
        listed = (await tenancy.tenants.ListOrganisations(pb.ListOrganisationsRequest())).organisations
        assert [one.organisation for one in listed] == ["acme-org"]
        own = (await tenancy.tenants.GetOrganisation(pb.GetOrganisationRequest())).organisation
        assert own.organisation == "acme-org" and own.version == 1
        with pytest.raises(PermissionDenied):
            await tenancy.tenants.CreateOrganisation(pb.CreateOrganisationRequest(organisation="more"))


async def test_lists_come_in_pages(tenancy: World) -> None:
    for name in ("c-org", "a-org", "b-org"):
        await tenancy.organisation(name)
    async with tenancy.as_holder(tenancy.operator):
        seen: list[str] = []
        token = ""
        for _ in range(2):
            page = paging_pb2.PageRequest(size=2, token=token)
            answer = await tenancy.tenants.ListOrganisations(pb.ListOrganisationsRequest(page=page))
            seen += [one.organisation for one in answer.organisations]
            token = answer.page.next_token
        assert (seen, token) == (["a-org", "b-org", "c-org"], "")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CreateTenantRequest(organisation="acme-org", tier=PRO), "tenant"),
        (pb.CreateTenantRequest(tenant="Acme", organisation="acme-org", tier=PRO), "tenant"),
        (pb.CreateTenantRequest(tenant="acme", tier=PRO), "organisation"),
        (pb.CreateTenantRequest(tenant="acme", organisation="acme:org", tier=PRO), "organisation"),
        (pb.CreateTenantRequest(tenant="acme", organisation="acme-org"), "tier"),
        (pb.CreateTenantRequest(tenant="acme", organisation="acme-org", tier=UNKNOWN_TIER), "tier"),
        (pb.CreateTenantRequest(tenant="a", organisation="a", tier=PRO, display_name="x" * 201), "display_name"),
        (pb.GetTenantRequest(), "tenant"),
        (pb.GetTenantRequest(tenant="../acme"), "tenant"),
        (pb.DeleteTenantRequest(), "tenant"),
        (pb.ListTenantsRequest(page=paging_pb2.PageRequest(size=1001)), "page.size"),
        (pb.ListTenantsRequest(page=paging_pb2.PageRequest(token="junk")), "page.token"),
        (pb.GetOrganisationRequest(), "organisation"),
        (pb.GetOperationRequest(operation="op_1"), "operation"),
    ],
)
async def test_a_wrong_field_is_named(tenancy: World, request_: object, field: str) -> None:
    method = type(request_).__name__.removesuffix("Request")
    async with tenancy.as_holder(tenancy.operator):
        with pytest.raises(InvalidArgument) as refused:
            await getattr(tenancy.tenants, method)(request_)
    assert refused.value.violations[0][0] == field
