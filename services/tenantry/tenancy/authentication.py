"""Who holds this credential: the use case behind every request that enters the mesh.

On a hit it costs a checksum, three look-ups in memory and an HMAC. What is remembered is dropped by the change log;
a key that does not exist is remembered for some seconds apart, so that guesses can't push real keys out. Credentials that
are not remembered pass by `guesses`.
"""

from collections.abc import Callable

from tenantry.kit import owner
from tenantry.kit.clock import Clock
from tenantry.kit.errors import NotFound, PermissionDenied, Reason, TenantryError, Unauthenticated
from tenantry.kit.memory import Memory
from tenantry.kit.revocations import invalid_key, not_active
from tenantry.tenancy import credentials, networks
from tenantry.tenancy.assertions import REMEMBERED, Assertions, Authenticated
from tenantry.tenancy.audit import Refusal, Refusals
from tenantry.tenancy.guesses import Guesses, source_of
from tenantry.tenancy.holder import Holder, holder_of
from tenantry.tenancy.issuer_tokens import IssuerTokens
from tenantry.tenancy.last_use import LastUse
from tenantry.tenancy.misses import Misses
from tenantry.tenancy.reach import not_found
from tenantry.tenancy.records import ApiKey, Tenant, TenantState
from tenantry.tenancy.signing import Signer
from tenantry.tenancy.store import KEY_CHANGES, PLATFORM, TENANT_CHANGES, Store

_ACTION = "AuthenticateCaller"
# Compared with where there is no key, so that the time taken does not tell whether there is.
_NOBODYS_DIGEST = bytes(32)

# Told a tenant and its tier.
Known = Callable[[str, str], None]


def _nobody_asks(tenant: str, tier: str) -> None:
    pass


class Authentication:
    """Checks credentials. The poller of the change log keeps `keys`, `tenants` and the tokens' memory true; `last_use`
    belongs to the room's background."""

    def __init__(
        self, store: Store, pepper: bytes, signer: Signer, refusals: Refusals, tokens: IssuerTokens, clock: Clock
    ) -> None:
        self._store = store
        self._pepper = pepper
        self._refusals = refusals
        self._tokens = tokens
        self._clock = clock
        self._assertions = Assertions(signer, clock)
        self._guesses = Guesses(clock)
        self.last_use = LastUse(store, clock)
        self.keys: Memory[ApiKey] = Memory(KEY_CHANGES, self._load_key, REMEMBERED, clock=clock)
        self.tenants: Memory[Tenant] = Memory(TENANT_CHANGES, self._load_tenant, REMEMBERED, clock=clock)
        self._misses = Misses(clock)

    async def authenticate(
        self, credential: str, known: Known = _nobody_asks, client_address: str = ""
    ) -> Authenticated:
        """The caller's assertion. One sentence for whatever is wrong with a key; another if its tenant is not
        served. `known` is told whose the credential is as soon as that is proven, refused or not."""
        if not credential:
            raise Unauthenticated(Reason.CREDENTIAL_MISSING, "the call carries no credential")
        holder = await self._proven(credential, client_address)
        known(holder.tenant, "")
        if holder.ends_ns is not None and holder.ends_ns <= self._clock.now_ns():
            raise self._refused(holder, invalid_key())
        if not networks.allows(holder.networks, client_address):
            denied = PermissionDenied(Reason.NETWORK_DENIED, "the credential may not be used from this address")
            raise self._refused(holder, denied)
        tenant = await self._tenant(holder)
        if tenant is not None:
            known(tenant.id, tenant.tier.value)
        if tenant is not None and tenant.state is not TenantState.ACTIVE:
            raise self._refused(holder, not_active(tenant.state.value))
        answer = await self._assertions.of(holder, tenant)
        if holder.id == holder.principal:  # a key: an issuer's callers are persons
            self.last_use.note(holder.id)
        return answer

    async def _proven(self, credential: str, client_address: str) -> Holder:
        """The holder; what is not remembered as valid counts against its source if it is not."""
        holder = self._remembered(credential)
        if holder is not None and self.keys.confirmed:
            return holder
        source = source_of(client_address)
        # What was good when the change log was last read is no guess, even if it has to be looked up again.
        if holder is None:
            self._guesses.check(source)
        try:
            if credential.startswith(credentials.PREFIX):
                return holder_of(await self._find(credential))
            return await self._tokens.verify(credential)
        except Unauthenticated:
            self._guesses.failed(source)
            raise

    def _remembered(self, credential: str) -> Holder | None:
        """The holder, if memory alone can tell that the credential is one, or was."""
        if not credential.startswith(credentials.PREFIX):
            return self._tokens.remembered(credential)
        key_id = credentials.key_id_of(credential)
        key = self.keys.peek(key_id) if key_id is not None else None
        if key is None or not credentials.matches(self._pepper, credential, key.digest):
            return None
        return holder_of(key)

    async def _find(self, credential: str) -> ApiKey:
        """The record of a key whose secret this is."""
        key_id = credentials.key_id_of(credential)
        if key_id is None:
            raise invalid_key()
        key = await self._known(key_id)
        digest = _NOBODYS_DIGEST if key is None else key.digest
        if not credentials.matches(self._pepper, credential, digest) or key is None:
            raise invalid_key()
        return key

    async def _known(self, key_id: str) -> ApiKey | None:
        """The record of a key; None for a miss, which is remembered for a while."""
        if self._misses.has(key_id):
            return None
        try:
            return await self.keys.get(key_id)
        except NotFound:
            self._misses.add(key_id)
            return None

    async def _tenant(self, holder: Holder) -> Tenant | None:
        """The holder's tenant; None for an administrator's."""
        if not holder.tenant:
            return None
        tenant = await self.tenants.get(holder.tenant)
        if tenant.state is TenantState.CREATING:
            # Whoever waited for the end of the operation must be let in at once, in whichever process it ended.
            self.tenants.drop(holder.tenant)
            tenant = await self.tenants.get(holder.tenant)
        return tenant

    def _refused(self, holder: Holder, error: TenantryError) -> TenantryError:
        """The error, which is noted: in the log of the one who is refused, and in no other."""
        self._refusals.note(Refusal(holder.owner, holder.principal, _ACTION, holder.id, error.code, error.reason.value))
        error.noted = True
        return error

    async def _load_key(self, key_id: str) -> ApiKey:
        """Raises for a miss, which the memory then does not keep."""
        async with self._store.read() as tx:
            key = await tx.keys.find(PLATFORM, key_id)
        if key is None:
            raise not_found("api-key")
        return key

    async def _load_tenant(self, tenant_id: str) -> Tenant:
        async with self._store.read() as tx:
            tenant = await tx.tenants.get(owner.Tenant("", tenant_id))
        if tenant is None:
            raise not_found("tenant")
        return tenant
