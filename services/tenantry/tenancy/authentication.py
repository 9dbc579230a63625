"""Who holds this credential: the use case behind every request that enters the mesh.

On a hit it costs a checksum, three look-ups in memory and an HMAC. What is remembered is dropped by the change log;
a key that does not exist is remembered for some seconds apart, so that guesses can't push real keys out. The
assertion of a caller is the same one for half its life, unless its key or tenant changed, so that services' own
checks hit their memories.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from tenantry.kit import owner
from tenantry.kit.assertion import ASSERTION_LIFE_S
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import NotFound, Reason, Unauthenticated
from tenantry.kit.memory import Memory
from tenantry.kit.revocations import invalid_key, not_active
from tenantry.tenancy import credentials
from tenantry.tenancy.api_keys import key_owner
from tenantry.tenancy.audit import Refusal, Refusals
from tenantry.tenancy.reach import not_found
from tenantry.tenancy.records import ApiKey, Tenant, TenantState
from tenantry.tenancy.signing import Signer
from tenantry.tenancy.store import KEY_CHANGES, PLATFORM, TENANT_CHANGES, Store
from tenantry.tenancy.validity import is_valid

REMEMBERED = 20_000
_MISSES = 10_000
_MISS_LIFE_S = 5.0
_ACTION = "AuthenticateCaller"

# Told a tenant and its tier.
Known = Callable[[str, str], None]


def _nobody_asks(tenant: str, tier: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A caller's assertion, and what the edge wants to know of it. `expires_at` is Unix seconds."""

    assertion: str
    tenant: str
    organisation: str
    tier: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Issued:
    """An assertion and what it was made of."""

    key: ApiKey
    tenant: Tenant | None
    signed_by: str
    renew_at: float
    answer: Authenticated


class Authentication:
    """Checks credentials. The poller of the change log keeps `memories` true."""

    def __init__(self, store: Store, pepper: bytes, signer: Signer, refusals: Refusals, clock: Clock) -> None:
        self._store = store
        self._pepper = pepper
        self._signer = signer
        self._refusals = refusals
        self._clock = clock
        self.keys: Memory[ApiKey] = Memory(KEY_CHANGES, self._load_key, REMEMBERED, clock=clock)
        self.tenants: Memory[Tenant] = Memory(TENANT_CHANGES, self._load_tenant, REMEMBERED, clock=clock)
        self._misses: OrderedDict[str, float] = OrderedDict()
        self._issued: OrderedDict[str, _Issued] = OrderedDict()

    async def authenticate(self, credential: str, known: Known = _nobody_asks) -> Authenticated:
        """The caller's assertion. One sentence for whatever is wrong with a key; another if its tenant is not
        served. `known` is told whose the credential is as soon as that is proven, refused or not."""
        if not credential:
            raise Unauthenticated(Reason.CREDENTIAL_MISSING, "the call carries no credential")
        key = await self._find(credential)
        known(key.tenant, "")
        if not is_valid(key, self._clock.now_ns()):
            self._refuse(key, "UNAUTHENTICATED")
            raise invalid_key()
        tenant = await self._tenant(key)
        if tenant is not None:
            known(tenant.id, tenant.tier.value)
        if tenant is not None and tenant.state is not TenantState.ACTIVE:
            self._refuse(key, "FAILED_PRECONDITION")
            raise not_active(tenant.state.value)
        return await self._assert(key, tenant)

    async def _find(self, credential: str) -> ApiKey:
        """The record of a key whose secret this is."""
        key_id = credentials.key_id_of(credential)
        if key_id is None or self._misses.get(key_id, 0.0) > self._clock.monotonic():
            raise invalid_key()
        try:
            key = await self.keys.get(key_id)
        except NotFound:
            self._misses[key_id] = self._clock.monotonic() + _MISS_LIFE_S
            if len(self._misses) > _MISSES:
                self._misses.popitem(last=False)
            raise invalid_key() from None
        if not credentials.matches(self._pepper, credential, key.digest):
            raise invalid_key()
        return key

    async def _tenant(self, key: ApiKey) -> Tenant | None:
        """The key's tenant; None for an administrator's."""
        if not key.tenant:
            return None
        tenant = await self.tenants.get(key.tenant)
        if tenant.state is TenantState.CREATING:
            # Whoever waited for the end of the operation must be let in at once, in whichever process it ended.
            self.tenants.drop(key.tenant)
            tenant = await self.tenants.get(key.tenant)
        return tenant

    async def _assert(self, key: ApiKey, tenant: Tenant | None) -> Authenticated:
        now = self._clock.now()
        issued = self._issued.get(key.id)
        signs_now = await self._signer.current_id()
        if (
            issued is not None
            and now < issued.renew_at
            and (issued.key, issued.tenant, issued.signed_by) == (key, tenant, signs_now)
        ):
            self._issued.move_to_end(key.id)
            return issued.answer
        ends = now + ASSERTION_LIFE_S
        if key.expires_ns is not None:
            ends = min(ends, key.expires_ns / 1e9)
        caller = _caller(key, tenant, float(int(ends)))
        assertion, signed_by = await self._signer.sign_caller(caller, now)
        answer = Authenticated(assertion, caller.tenant, caller.organisation, caller.tier, caller.expires_at)
        renew_at = min(now + ASSERTION_LIFE_S / 2, caller.expires_at)
        self._issued[key.id] = _Issued(key, tenant, signed_by, renew_at, answer)
        self._issued.move_to_end(key.id)
        if len(self._issued) > REMEMBERED:
            self._issued.popitem(last=False)
        return answer

    def _refuse(self, key: ApiKey, outcome: str) -> None:
        self._refusals.note(Refusal(key_owner(key), key.id, _ACTION, key.id, outcome))

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


def _caller(key: ApiKey, tenant: Tenant | None, expires_at: float) -> Caller:
    return Caller(
        tenant=key.tenant,
        organisation=key.organisation,
        tier=tenant.tier.value if tenant else "",
        principal=key.id,
        scopes=frozenset(key.scopes),
        key_id=key.id,
        models=key.models,
        collections=key.collections,
        key_generation=key.generation,
        tenant_generation=tenant.generation if tenant else 0,
        expires_at=expires_at,
    )
