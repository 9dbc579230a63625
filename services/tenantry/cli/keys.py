"""`tenantry key`: API keys."""

from datetime import datetime
from typing import Annotated

import typer

from tenantry.api.tenancy.v1 import key_service_pb2 as pb
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.cli import settings
from tenantry.cli.options import Address, Key, connected, duration
from tenantry.cli.output import note, show, show_all
from tenantry.cli.refusals import fail
from tenantry.tenancy.roles import OPERATOR, ORGANISATION_ADMIN, ROLES, TENANT_ADMIN, TENANT_SERVICE

app = typer.Typer(help="API keys.", no_args_is_help=True, add_completion=False)
Named = Annotated[str, typer.Option("--tenant", help="The tenant it speaks for.")]
_COLUMNS = (
    "key_id",
    "display_name",
    "scopes",
    "networks",
    "create_time",
    "last_use_time",
    "expire_time",
    "revoke_time",
    "replaced_by",
)
_CUSTOMERS = (ORGANISATION_ADMIN, TENANT_ADMIN, TENANT_SERVICE)


@app.command("create")
def create(
    tenant: Named = "",
    org: Annotated[str, typer.Option(help="For an organisation's admin: the organisation.")] = "",
    role: Annotated[str, typer.Option(help=f"A bundle of scopes: {', '.join(ROLES)}.")] = TENANT_SERVICE,
    scope: Annotated[list[str] | None, typer.Option(help="A scope; replaces the role's. May be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model. May be repeated.")] = None,
    collection: Annotated[list[str] | None, typer.Option(help="Only this collection. May be repeated.")] = None,
    network: Annotated[list[str] | None, typer.Option(help="Only from these addresses, 203.0.113.0/24.")] = None,
    name: str = "",
    address: Address = None,
    key: Key = None,
) -> None:
    """Make a key and show its secret, this once."""
    if role not in ROLES:
        raise typer.BadParameter(f"{role} is no role; there are {', '.join(ROLES)}")
    # The local operator's own key would otherwise make another of the platform's, with rights that only tenants use.
    if role in _CUSTOMERS and not (tenant or org or scope or key or settings.key()):
        raise typer.BadParameter(f"say whose key it is: --tenant, --org, or --role {OPERATOR}")
    request = pb.CreateApiKeyRequest(
        tenant=tenant,
        organisation=org,
        display_name=name,
        scopes=scope or sorted(ROLES[role]),
        models=model or (),
        collections=collection or (),
        networks=network or (),
    )
    made = connected(address, key, tenant or None).call(KeyServiceStub, "CreateApiKey", request)
    note(key_id=made.key.key_id, secret=made.secret)


@app.command("list")
def list_keys(tenant: Named = "", address: Address = None, key: Key = None) -> None:
    """List keys."""
    connection = connected(address, key, tenant or None)
    found = connection.pages(KeyServiceStub, "ListApiKeys", pb.ListApiKeysRequest(tenant=tenant), "keys")
    show_all(found, _COLUMNS)


@app.command("rotate")
def rotate(
    key_id: str,
    overlap: Annotated[
        str, typer.Option(help="How long the old key still works: 30s, 15m, 12h, 7d; 0s to 30d.")
    ] = "1d",
    tenant: Named = "",
    address: Address = None,
    key: Key = None,
) -> None:
    """Make a key in the place of another, and show its secret, this once. The old one ends after the overlap."""
    request = pb.RotateApiKeyRequest(tenant=tenant, key_id=key_id, overlap=duration(overlap))
    made = connected(address, key, tenant or None).call(KeyServiceStub, "RotateApiKey", request)
    ends = made.replaced.revoke_time if made.replaced.HasField("revoke_time") else made.replaced.expire_time
    note(key_id=made.key.key_id, secret=made.secret, replaces=key_id, old_key_ends=ends.ToJsonString())


@app.command("update")
def update(
    key_id: str,
    tenant: Named = "",
    scope: Annotated[list[str] | None, typer.Option(help="A scope it shall have. May be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model; '' for any. May be repeated.")] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="Only this collection; '' for any. May be repeated.")
    ] = None,
    expires: Annotated[datetime | None, typer.Option(help="When it shall end, in UTC.")] = None,
    address: Address = None,
    key: Key = None,
) -> None:
    """Change what a key may do; what is not said stays. Running calls of a key that loses something end."""
    connection = connected(address, key, tenant or None)
    listed = connection.pages(KeyServiceStub, "ListApiKeys", pb.ListApiKeysRequest(tenant=tenant), "keys")
    known = next((one for one in listed if one.key_id == key_id), None)
    if known is None:
        fail(f"{key_id} is not among the keys", "`tenantry key list` shows them; --tenant says whose")
    request = pb.UpdateApiKeyRequest(
        tenant=tenant,
        key_id=key_id,
        version=known.version,
        scopes=known.scopes if scope is None else scope,
        models=known.models if model is None else filter(None, model),
        collections=known.collections if collection is None else filter(None, collection),
        expire_time=known.expire_time if known.HasField("expire_time") else None,
    )
    if expires is not None:
        request.expire_time.FromDatetime(expires)
    show(connection.call(KeyServiceStub, "UpdateApiKey", request).key)


@app.command("revoke")
def revoke(key_id: str, tenant: Named = "", address: Address = None, key: Key = None) -> None:
    """Revoke a key."""
    request = pb.RevokeApiKeyRequest(tenant=tenant, key_id=key_id)
    show(connected(address, key, tenant or None).call(KeyServiceStub, "RevokeApiKey", request).key)
