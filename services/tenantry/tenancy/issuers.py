"""OIDC issuers: register, list and remove them. Each is one tenant's."""

from dataclasses import dataclass

from tenantry.kit import owner
from tenantry.kit.caller import Caller, may_name
from tenantry.kit.clock import Clock
from tenantry.kit.errors import AlreadyExists, Conflict, InvalidArgument, Reason, ResourceExhausted
from tenantry.kit.revocations import KEEP_S, not_active
from tenantry.tenancy import audit
from tenantry.tenancy.issuer_keys import ReadKeys
from tenantry.tenancy.issuer_url import fault_of, issuer_id
from tenantry.tenancy.paging import Page, cut
from tenantry.tenancy.reach import not_found, owner_of, reached
from tenantry.tenancy.records import Issuer, TenantState
from tenantry.tenancy.rights import Grant, check_grant
from tenantry.tenancy.store import PLATFORM, Store
from tenantry.tenancy.tenants import find
from tenantry.tenancy.validity import check_still_valid

MAX_ISSUERS = 10


@dataclass(frozen=True, slots=True)
class NewIssuer:
    """What RegisterIssuer asks for. An empty tenant is the caller's own."""

    tenant: str
    url: str
    audience: str
    grant: Grant
    narrowed: bool


class Issuers:
    """What administrators may do with issuers. `read` fetches an issuer's keys."""

    def __init__(self, store: Store, read: ReadKeys, clock: Clock, *, loopback: bool) -> None:
        self._store = store
        self._read = read
        self._clock = clock
        self._loopback = loopback

    async def register(self, caller: Caller, wanted: NewIssuer) -> Issuer:
        """The issuer, whose discovery document was read: so a mistake is told now, and not to its callers."""
        fault = fault_of(wanted.url, loopback=self._loopback)
        if fault:
            raise InvalidArgument("url", fault)
        # Before anything is fetched: only who may register it may have it fetched.
        async with self._store.read() as tx:
            tenant = await find(tx, caller, wanted.tenant)
            check_grant(caller, await check_still_valid(tx, caller, self._clock.now_ns()), wanted.grant)
        await self._read(wanted.url)
        try:
            return await self._register(caller, owner_of(tenant), wanted)
        except Conflict:
            raise AlreadyExists(Reason.ALREADY_EXISTS, "the issuer is registered already", kind="issuer") from None

    async def list(self, caller: Caller, tenant: str, page: Page) -> tuple[tuple[Issuer, ...], str]:
        """A page of the tenant's issuers, and the next page's token."""
        async with self._store.read() as tx:
            whose = owner_of(await find(tx, caller, tenant))
            found = await tx.issuers.list(whose, page)
        return cut(found, page, lambda issuer: issuer.id)

    async def remove(self, caller: Caller, tenant: str, id: str) -> Issuer:
        """The issuer as it is now; all that its callers had is worth nothing from now on."""
        async with self._store.write() as tx:
            now_ns = self._clock.now_ns()
            await check_still_valid(tx, caller, now_ns)
            issuer = await tx.issuers.find(PLATFORM, id)
            if issuer is None or (tenant and issuer.tenant != tenant):
                raise not_found("issuer")
            named = await tx.tenants.lock(owner.Tenant("", issuer.tenant))
            if named is None or not may_name(caller, owner_of(named)):
                raise not_found("issuer")
            whose = owner_of(named)
            if issuer.removed_ns is None:
                await tx.issuers.remove(whose, id, now_ns)
                await audit.write(tx, whose, caller, "RemoveIssuer", id, now_ns)
            return await tx.issuers.find(PLATFORM, id) or issuer

    async def _register(self, caller: Caller, whose: owner.Tenant, wanted: NewIssuer) -> Issuer:
        async with self._store.write() as tx:
            now_ns = self._clock.now_ns()
            bounds = await check_still_valid(tx, caller, now_ns)
            tenant = reached(caller, await tx.tenants.lock(whose))
            if tenant.state in (TenantState.DELETING, TenantState.DELETED):
                raise not_active(tenant.state.value)
            check_grant(caller, bounds, wanted.grant)
            # Removed ones count while services remember them: registering and removing can't fill their memory.
            if await tx.issuers.count(whose, now_ns - round(KEEP_S * 1e9)) >= MAX_ISSUERS:
                raise ResourceExhausted(
                    Reason.TOO_MANY,
                    f"there are {MAX_ISSUERS} issuers already; remove some, which count for {KEEP_S / 60:g} minutes more",
                    kind="issuer",
                    limit=str(MAX_ISSUERS),
                )
            issuer = await tx.issuers.register(whose, _issuer(whose, wanted, now_ns))
            await audit.write(tx, whose, caller, "RegisterIssuer", issuer.id, now_ns)
        return issuer


def _issuer(whose: owner.Tenant, wanted: NewIssuer, now_ns: int) -> Issuer:
    return Issuer(
        id=issuer_id(wanted.url),
        tenant=whose.id,
        organisation=whose.organisation,
        url=wanted.url,
        audience=wanted.audience,
        scopes=tuple(sorted(wanted.grant.scopes)),
        narrowed=wanted.narrowed,
        models=wanted.grant.models,
        collections=wanted.grant.collections,
        networks=wanted.grant.networks,
        created_ns=now_ns,
    )
