"""Whom a caller's admin requests may be about. What is out of reach is NOT_FOUND, as if it did not exist. Pure
functions."""

from tenantry.kit import owner
from tenantry.kit.caller import Caller, may_name
from tenantry.kit.errors import NotFound, PermissionDenied, Reason
from tenantry.tenancy.records import Tenant


def own(caller: Caller) -> owner.Tenant | owner.Organisation | owner.Platform:
    """What the caller itself belongs to: for requests that name nobody."""
    return owner.owner_by(caller.organisation, caller.tenant)


def may_name_organisation(caller: Caller, organisation: str) -> bool:
    """Whether the caller administers the organisation: an operator all, its admin his own, a tenant's none."""
    return not caller.tenant and caller.organisation in ("", organisation)


def reached(caller: Caller, tenant: Tenant | None) -> Tenant:
    """The tenant, if there is one and the caller may name it."""
    if tenant is None or not may_name(caller, owner_of(tenant)):
        raise not_found("tenant")
    return tenant


def owner_of(tenant: Tenant) -> owner.Tenant:
    """The tenant as an owner."""
    return owner.Tenant(tenant.organisation, tenant.id)


def not_found(kind: str) -> NotFound:
    """What somebody hears who named a thing that is absent or not his."""
    return NotFound(Reason.NOT_FOUND, f"there is no such {kind}", kind=kind)


def only_administrators() -> PermissionDenied:
    """What a tenant's caller hears who asks for what only an organisation's admin or an operator may do."""
    return PermissionDenied(Reason.CALLER_NOT_ALLOWED, "this RPC is for an organisation's admins and operators")
