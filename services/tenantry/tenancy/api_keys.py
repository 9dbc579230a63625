"""API keys: make, list, change, rotate and revoke them."""

import logging
from dataclasses import dataclass, replace

from tenantry.kit import owner
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import Aborted, FailedPrecondition, InvalidArgument, Reason, ResourceExhausted, TenantryError
from tenantry.kit.ids import new_id
from tenantry.kit.revocations import KEEP_S, not_active
from tenantry.tenancy import audit, credentials
from tenantry.tenancy.paging import Page, cut
from tenantry.tenancy.reach import may_name_organisation, not_found, own, owner_of, reached
from tenantry.tenancy.records import ApiKey, TenantState
from tenantry.tenancy.rights import Grant, check_grant, takes_away
from tenantry.tenancy.store import PLATFORM, Store, Transaction
from tenantry.tenancy.validity import check_still_valid, is_valid

log = logging.getLogger(__name__)

MAX_KEYS = 1000
_SWEEP_EVERY_S = 3600.0
ENDED_SHOWN_NS = 90 * 86_400 * 10**9
USUAL_OVERLAP_NS = 86_400 * 10**9
MAX_OVERLAP_NS = 30 * 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class NewKey:
    """What CreateApiKey asks for: a key of the tenant, or of the organisation, or, with neither, of the caller's
    own."""

    tenant: str
    organisation: str
    display_name: str
    grant: Grant


class ApiKeys:
    """What administrators may do with keys. `pepper` is what their digests are made with."""

    def __init__(self, store: Store, pepper: bytes, clock: Clock) -> None:
        self._store = store
        self._pepper = pepper
        self._clock = clock

    async def create(self, caller: Caller, wanted: NewKey) -> tuple[ApiKey, str]:
        """The new key and its secret, which is in no store."""
        now_ns = self._clock.now_ns()
        _check_end(wanted.grant, now_ns)
        async with self._store.write() as tx:
            bounds = await check_still_valid(tx, caller, now_ns)
            whose = await self._owner_to_be(tx, caller, wanted)
            check_grant(caller, bounds, wanted.grant)
            await _check_room(tx, whose, now_ns)
            key, secret = new_key(whose, wanted.display_name, wanted.grant, self._pepper, now_ns)
            await tx.keys.insert(whose, key)
            await audit.write(tx, whose, caller, "CreateApiKey", key.id, now_ns)
        return key, secret

    async def list(self, caller: Caller, tenant: str, page: Page) -> tuple[tuple[ApiKey, ...], str]:
        """A page of the tenant's keys, newest first, and the next page's token. Without a tenant: the caller's own."""
        async with self._store.read() as tx:
            whose = await self._named(tx, caller, tenant)
            found = await tx.keys.list(whose, page, self._clock.now_ns() - ENDED_SHOWN_NS)
        return cut(found, page, lambda key: key.id)

    async def update(self, caller: Caller, tenant: str, key_id: str, version: int, grant: Grant) -> ApiKey:
        """The key with `grant` in the place of what it might do, unless it changed since `version`."""
        now_ns = self._clock.now_ns()
        _check_end(grant, now_ns)
        async with self._store.write() as tx:
            bounds = await check_still_valid(tx, caller, now_ns)
            key = self._named_key(caller, tenant, await tx.keys.lock(PLATFORM, key_id))
            if key.version != version:
                message = "the key changed since that version; read it again"
                raise Aborted(Reason.VERSION_CONFLICT, message, version=str(key.version))
            if key.revoked_ns is not None:
                raise InvalidArgument("key_id", "is that of a revoked key, which stays so; make another")
            check_grant(caller, bounds, grant)
            whose = key_owner(key)
            if not is_valid(key, now_ns):  # it had ended, and counts again
                await _check_room(tx, whose, now_ns)
            changed = replace(
                key,
                scopes=tuple(sorted(grant.scopes)),
                models=grant.models,
                collections=grant.collections,
                expires_ns=grant.expires_ns,
                networks=grant.networks,
            )
            await tx.keys.change(whose, changed, revokes=takes_away(grant_of(key), grant))
            await audit.write(tx, whose, caller, "UpdateApiKey", key_id, now_ns)
            return await tx.keys.find(PLATFORM, key_id) or changed

    async def rotate(self, caller: Caller, tenant: str, key_id: str, overlap_ns: int) -> tuple[ApiKey, str, ApiKey]:
        """A new key in the place of another, its secret, and the other as it is now.

        The caller must be able to make such a key: or he would get rights by it that he lacks. A key is rotated once,
        so that a call that is made again by mistake leaves no key that nobody knows of.
        """
        if not 0 <= overlap_ns <= MAX_OVERLAP_NS:
            raise InvalidArgument("overlap", "is not 0 s to 30 days")
        async with self._store.write() as tx:
            now_ns = self._clock.now_ns()
            bounds = await check_still_valid(tx, caller, now_ns)
            old = self._named_key(caller, tenant, await tx.keys.lock(PLATFORM, key_id))
            whose = await self._named(tx, caller, old.tenant, alive=True) if old.tenant else key_owner(old)
            _check_current(old, now_ns)
            grant = grant_of(old)
            check_grant(caller, bounds, grant)
            await _check_room(tx, whose, now_ns)
            key, secret = new_key(whose, old.display_name, grant, self._pepper, now_ns)
            await tx.keys.insert(whose, key)
            ends_ns = now_ns + overlap_ns if old.expires_ns is None else min(now_ns + overlap_ns, old.expires_ns)
            await tx.keys.replace(whose, old.id, key.id, ends_ns)
            if not overlap_ns:
                await tx.keys.revoke(whose, old.id, now_ns)
            await audit.write(tx, whose, caller, "RotateApiKey", old.id, now_ns)
            await audit.write(tx, whose, caller, "CreateApiKey", key.id, now_ns)
            return key, secret, await tx.keys.find(PLATFORM, old.id) or old

    async def revoke(self, caller: Caller, tenant: str, key_id: str) -> ApiKey:
        """The key as it is now. An operator may revoke any, an organisation's admin any of the organisation."""
        async with self._store.write() as tx:
            now_ns = self._clock.now_ns()
            await check_still_valid(tx, caller, now_ns)
            key = self._named_key(caller, tenant, await tx.keys.find(PLATFORM, key_id))
            if key.revoked_ns is None:
                whose = key_owner(key)
                await tx.keys.revoke(whose, key_id, now_ns)
                await audit.write(tx, whose, caller, "RevokeApiKey", key_id, now_ns)
                key = await tx.keys.find(PLATFORM, key_id) or key
        return key

    async def sweep(self) -> int:
        """Deletes keys that were revoked or ended longer ago than they are shown."""
        async with self._store.write() as tx:
            return await tx.keys.sweep(PLATFORM, self._clock.now_ns() - ENDED_SHOWN_NS)

    async def sweep_for_ever(self) -> None:
        """Sweeps now and then."""
        while True:
            try:
                await self.sweep()
            except TenantryError as error:
                log.warning("ended keys can't be swept: %s", error.message)
            await self._clock.sleep(_SWEEP_EVERY_S)

    async def _owner_to_be(self, tx: Transaction, caller: Caller, wanted: NewKey) -> owner.Owner:
        if wanted.tenant and wanted.organisation:
            raise InvalidArgument("organisation", "must be empty when a tenant is named")
        if not wanted.organisation:
            return await self._named(tx, caller, wanted.tenant, alive=True)
        organisation = owner.Organisation(wanted.organisation)
        if not may_name_organisation(caller, organisation.id) or await tx.organisations.get(organisation) is None:
            raise not_found("organisation")
        return organisation

    async def _named(self, tx: Transaction, caller: Caller, tenant_id: str, *, alive: bool = False) -> owner.Owner:
        """Whose keys the request is about. With `alive`, the tenant must not be on its way out, and stays so for
        now."""
        if not tenant_id and not caller.tenant:
            return own(caller)
        named = owner.Tenant("", tenant_id or caller.tenant)
        tenant = reached(caller, await (tx.tenants.lock(named) if alive else tx.tenants.get(named)))
        if alive and tenant.state in (TenantState.DELETING, TenantState.DELETED):
            raise not_active(tenant.state.value)
        return owner_of(tenant)

    def _named_key(self, caller: Caller, tenant: str, key: ApiKey | None) -> ApiKey:
        if key is None or (tenant and key.tenant != tenant) or not _may_change(caller, key):
            raise not_found("api-key")
        return key


def _check_end(grant: Grant, now_ns: int) -> None:
    if grant.expires_ns is not None and grant.expires_ns <= now_ns:
        raise InvalidArgument("expire_time", "is not in the future")


async def _check_room(tx: Transaction, whose: owner.Owner, now_ns: int) -> None:
    # Revoked ones count while services remember them: making and revoking keys can't fill their memory.
    if await tx.keys.count(whose, now_ns, now_ns - round(KEEP_S * 1e9)) >= MAX_KEYS:
        raise ResourceExhausted(
            Reason.TOO_MANY,
            f"there are {MAX_KEYS} keys already; revoke some, which count for {KEEP_S / 60:g} minutes more",
            kind="api-key",
            limit=str(MAX_KEYS),
        )


def _check_current(key: ApiKey, now_ns: int) -> None:
    if key.replaced_by:
        raise FailedPrecondition(
            Reason.KEY_NOT_CURRENT,
            f"the key was rotated already: {key.replaced_by} replaced it",
            replaced_by=key.replaced_by,
        )
    if not is_valid(key, now_ns):
        raise FailedPrecondition(Reason.KEY_NOT_CURRENT, "the key was revoked or has ended: make a new one")


def grant_of(key: ApiKey) -> Grant:
    """What a key may do."""
    return Grant(frozenset(key.scopes), key.models, key.collections, key.expires_ns, key.networks)


def _may_change(caller: Caller, key: ApiKey) -> bool:
    if caller.tenant:
        return key.tenant == caller.tenant
    return caller.organisation in ("", key.organisation)


def key_owner(key: ApiKey) -> owner.Tenant | owner.Organisation | owner.Platform:
    """Whose key it is."""
    return owner.owner_by(key.organisation, key.tenant)


def new_key(whose: owner.Owner, display_name: str, grant: Grant, pepper: bytes, now_ns: int) -> tuple[ApiKey, str]:
    """A key of that owner, and its secret."""
    key_id = new_id("key")
    secret = credentials.new_credential(key_id)
    key = ApiKey(
        id=key_id,
        tenant=whose.id if isinstance(whose, owner.Tenant) else "",
        organisation=_organisation_of(whose),
        display_name=display_name,
        scopes=tuple(sorted(grant.scopes)),
        models=grant.models,
        collections=grant.collections,
        digest=credentials.digest_of(pepper, secret),
        created_ns=now_ns,
        expires_ns=grant.expires_ns,
        networks=grant.networks,
    )
    return key, secret


def _organisation_of(whose: owner.Owner) -> str:
    match whose:
        case owner.Tenant():
            return whose.organisation
        case owner.Organisation():
            return whose.id
        case _:
            return ""
