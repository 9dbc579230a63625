"""`tenantry issuer`: OIDC issuers whose JWTs are credentials of a tenant's callers."""

from typing import Annotated

import typer

from tenantry.api.tenancy.v1 import issuer_service_pb2 as pb
from tenantry.api.tenancy.v1.issuer_service_pb2_grpc import IssuerServiceStub
from tenantry.cli.options import Address, Key, connected
from tenantry.cli.output import show, show_all
from tenantry.tenancy.roles import ROLES, TENANT_SERVICE

app = typer.Typer(help="OIDC issuers of tenants.", no_args_is_help=True, add_completion=False)
Named = Annotated[str, typer.Option("--tenant", help="The tenant its callers belong to.")]


@app.command("add")
def add(
    url: str,
    audience: Annotated[str, typer.Option(help="What tokens must carry in `aud`.")],
    tenant: Named = "",
    role: Annotated[str, typer.Option(help=f"A bundle of scopes: {', '.join(ROLES)}.")] = TENANT_SERVICE,
    scope: Annotated[list[str] | None, typer.Option(help="A scope; replaces the role's. May be repeated.")] = None,
    narrow: Annotated[bool, typer.Option("--narrow", help="Leave only what the token's `scope` names too.")] = False,
    model: Annotated[list[str] | None, typer.Option(help="Only this model. May be repeated.")] = None,
    collection: Annotated[list[str] | None, typer.Option(help="Only this collection. May be repeated.")] = None,
    network: Annotated[list[str] | None, typer.Option(help="Only from these addresses, 203.0.113.0/24.")] = None,
    address: Address = None,
    key: Key = None,
) -> None:
    """Let the callers of an issuer in."""
    if role not in ROLES:
        raise typer.BadParameter(f"{role} is no role; there are {', '.join(ROLES)}")
    request = pb.RegisterIssuerRequest(
        tenant=tenant,
        url=url,
        audience=audience,
        scopes=scope or sorted(ROLES[role]),
        narrow_by_scope_claim=narrow,
        models=model or (),
        collections=collection or (),
        networks=network or (),
    )
    show(connected(address, key, tenant or None).call(IssuerServiceStub, "RegisterIssuer", request).issuer)


@app.command("list")
def list_issuers(tenant: Named = "", address: Address = None, key: Key = None) -> None:
    """List a tenant's issuers."""
    connection = connected(address, key, tenant or None)
    found = connection.pages(IssuerServiceStub, "ListIssuers", pb.ListIssuersRequest(tenant=tenant), "issuers")
    show_all(found, ("issuer_id", "url", "audience", "scopes", "networks", "create_time"))


@app.command("remove")
def remove(issuer_id: str, tenant: Named = "", address: Address = None, key: Key = None) -> None:
    """End the rights of all callers of an issuer."""
    request = pb.RemoveIssuerRequest(tenant=tenant, issuer_id=issuer_id)
    show(connected(address, key, tenant or None).call(IssuerServiceStub, "RemoveIssuer", request).issuer)
