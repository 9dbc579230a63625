"""Who is calling, as it was verified: read from the current call, never from a request."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from tenantry.kit import call
from tenantry.kit.errors import NotFound, PermissionDenied, Reason, Unauthenticated
from tenantry.kit.ids import check_tenant_id
from tenantry.kit.owner import Tenant


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified caller. Without a tenant it is an administrator: of its organisation, or, without one, of the platform.

    `models` and `collections` restrict it to those; empty means it is not restricted. `expires_at` is Unix seconds.
    """

    tenant: str
    organisation: str
    tier: str
    principal: str
    scopes: frozenset[str]
    key_id: str
    models: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    key_generation: int = 0
    tenant_generation: int = 0
    expires_at: float = 0.0


def current() -> Caller:
    """The verified caller of the call being served."""
    caller = call.CURRENT.get().caller
    if caller is None:
        raise Unauthenticated(Reason.CREDENTIAL_MISSING, "the call carries no credential")
    return caller


def current_or_none() -> Caller | None:
    """The verified caller, if the call has one."""
    return call.CURRENT.get().caller


def owner() -> Tenant:
    """The current caller's tenant, for the first parameter of a store method."""
    caller = current()
    if not caller.tenant:
        raise PermissionDenied(Reason.CALLER_NOT_ALLOWED, "this RPC is for a tenant's callers; use one of its keys")
    return Tenant(caller.organisation, caller.tenant)


def may_name(caller: Caller, tenant: Tenant) -> bool:
    """Whether an admin request of `caller` may be about `tenant`; if not, the answer is NOT_FOUND."""
    if caller.tenant:
        return caller.tenant == tenant.id
    return not caller.organisation or caller.organisation == tenant.organisation


async def named_tenant(tenant_id: str, find: Callable[[str], Awaitable[Tenant | None]]) -> Tenant:
    """The tenant that an admin request names, empty for the caller's own. NotFound when the caller may not name it."""
    caller = current()
    if not tenant_id:
        return owner()
    check_tenant_id(tenant_id)
    if caller.tenant == tenant_id:
        return Tenant(caller.organisation, tenant_id)
    tenant = None if caller.tenant else await find(tenant_id)
    if tenant is None or not may_name(caller, tenant):
        raise NotFound(Reason.NOT_FOUND, "there is no such tenant", kind="tenant")
    return tenant


def identity() -> str | None:
    """The verified service that made the call, such as `gateway`; None for outside callers."""
    return call.CURRENT.get().identity


def request_id() -> str:
    """The gateway's id of the request being served, empty outside of one."""
    return call.CURRENT.get().request_id


@contextmanager
def scope(caller: Caller) -> Generator[None]:
    """Makes `caller` the current one for a block: for tests of use cases."""
    with call.entered(call.Call(caller=caller)):
        yield
