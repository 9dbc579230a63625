"""`tenantry org` and `tenantry tenant`: organisations, tenants, and the work of making and deleting them."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as pb
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.cli.connection import Connection
from tenantry.cli.operations import watch
from tenantry.cli.options import Address, Key, connected
from tenantry.cli.output import clean, console, is_terminal, show, show_all

organisations = typer.Typer(help="Organisations.", no_args_is_help=True, add_completion=False)
tenants = typer.Typer(help="Tenants.", no_args_is_help=True, add_completion=False)
_STATES = {"PENDING": "…", "RUNNING": "[yellow]●[/yellow]", "DONE": "[green]✓[/green]"}


class Tier(StrEnum):
    """A tenant's class of service."""

    free = "free"
    pro = "pro"
    enterprise = "enterprise"


@organisations.command("create")
def create_organisation(organisation: str, name: str = "", address: Address = None, key: Key = None) -> None:
    """Make an organisation."""
    request = pb.CreateOrganisationRequest(organisation=organisation, display_name=name)
    show(connected(address, key, None).call(TenantServiceStub, "CreateOrganisation", request).organisation)


@organisations.command("list")
def list_organisations(address: Address = None, key: Key = None) -> None:
    """List organisations."""
    connection = connected(address, key, None)
    found = connection.pages(TenantServiceStub, "ListOrganisations", pb.ListOrganisationsRequest(), "organisations")
    show_all(found, ("organisation", "display_name", "create_time"))


@tenants.command("create")
def create_tenant(
    tenant: str,
    org: Annotated[str, typer.Option(help="Its organisation.")] = "",
    tier: Annotated[Tier, typer.Option(help="Its tier.")] = Tier.free,
    name: str = "",
    address: Address = None,
    key: Key = None,
) -> None:
    """Make a tenant, and wait until every service has made its part."""
    connection = connected(address, key, None)
    request = pb.CreateTenantRequest(
        tenant=tenant, organisation=org, display_name=name, tier=tenant_pb2.Tier.Value(f"TIER_{tier.upper()}")
    )
    _follow(connection, connection.call(TenantServiceStub, "CreateTenant", request).operation)


@tenants.command("list")
def list_tenants(org: str = "", address: Address = None, key: Key = None) -> None:
    """List tenants."""
    request = pb.ListTenantsRequest(organisation=org)
    found = connected(address, key, None).pages(TenantServiceStub, "ListTenants", request, "tenants")
    show_all(found, ("tenant", "organisation", "tier", "state", "create_time"))


@tenants.command("show")
def show_tenant(tenant: str, address: Address = None, key: Key = None) -> None:
    """Show one tenant."""
    request = pb.GetTenantRequest(tenant=tenant)
    show(connected(address, key, None).call(TenantServiceStub, "GetTenant", request).tenant)


@tenants.command("suspend")
def suspend_tenant(tenant: str, address: Address = None, key: Key = None) -> None:
    """End a tenant's running calls and refuse new ones, until it is resumed; what is kept of it stays."""
    request = pb.SuspendTenantRequest(tenant=tenant)
    show(connected(address, key, None).call(TenantServiceStub, "SuspendTenant", request).tenant)


@tenants.command("resume")
def resume_tenant(tenant: str, address: Address = None, key: Key = None) -> None:
    """Serve a suspended tenant again."""
    request = pb.ResumeTenantRequest(tenant=tenant)
    show(connected(address, key, None).call(TenantServiceStub, "ResumeTenant", request).tenant)


@tenants.command("delete")
def delete_tenant(
    tenant: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: Address = None,
    key: Key = None,
) -> None:
    """Delete a tenant with all that the services keep of it, and wait until they have."""
    if not yes:
        typer.confirm(f"Delete {tenant} with its documents, prompts and keys?", abort=True)
    connection = connected(address, key, None)
    request = pb.DeleteTenantRequest(tenant=tenant)
    _follow(connection, connection.call(TenantServiceStub, "DeleteTenant", request).operation)


def _follow(connection: Connection, operation: Any) -> None:
    if not is_terminal():
        for state in watch(connection, operation.operation):
            operation = state
        show(operation)
        return
    with Live(_steps(operation), console=console) as live:
        for state in watch(connection, operation.operation):
            live.update(_steps(state))


def _steps(operation: Any) -> Table:
    table = Table(show_header=False, box=None)
    for step in operation.steps:
        state = tenant_pb2.OperationState.Name(step.state).removeprefix("OPERATION_STATE_")
        table.add_row(
            _STATES.get(state, "…"), step.service, Text(clean(step.did)) if step.did else Text(clean(step.error), "dim")
        )
    return table
