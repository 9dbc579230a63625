"""The assertion of a holder: the same one for half its life, unless he, his tenant or the signing key changed, so that
services' own checks hit their memories."""

from collections import OrderedDict
from dataclasses import dataclass

from tenantry.kit.assertion import ASSERTION_LIFE_S
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.tenancy.holder import Holder
from tenantry.tenancy.records import Tenant
from tenantry.tenancy.signing import Signer

REMEMBERED = 20_000


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

    holder: Holder
    tenant: Tenant | None
    signed_by: str
    renew_at: float
    answer: Authenticated


class Assertions:
    """Signs assertions and remembers them by holder, the least recently asked for forgotten first."""

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock
        self._issued: OrderedDict[tuple[str, int | None], _Issued] = OrderedDict()

    async def of(self, holder: Holder, tenant: Tenant | None) -> Authenticated:
        """The holder's assertion, which ends no later than his credential."""
        now = self._clock.now()
        # Two tokens of one person are two credentials, each with an end of its own.
        place = holder.principal, holder.ends_ns
        issued = self._issued.get(place)
        signs_now = await self._signer.current_id()
        if (
            issued is not None
            and now < issued.renew_at
            and (issued.holder, issued.tenant, issued.signed_by) == (holder, tenant, signs_now)
        ):
            self._issued.move_to_end(place)
            return issued.answer
        ends = now + ASSERTION_LIFE_S
        if holder.ends_ns is not None:
            ends = min(ends, holder.ends_ns / 1e9)
        caller = _caller(holder, tenant, float(int(ends)))
        assertion, signed_by = await self._signer.sign_caller(caller, now)
        answer = Authenticated(assertion, caller.tenant, caller.organisation, caller.tier, caller.expires_at)
        renew_at = min(now + ASSERTION_LIFE_S / 2, caller.expires_at)
        self._issued[place] = _Issued(holder, tenant, signed_by, renew_at, answer)
        self._issued.move_to_end(place)
        if len(self._issued) > REMEMBERED:
            self._issued.popitem(last=False)
        return answer


def _caller(holder: Holder, tenant: Tenant | None, expires_at: float) -> Caller:
    return Caller(
        tenant=holder.tenant,
        organisation=holder.organisation,
        tier=tenant.tier.value if tenant else "",
        principal=holder.principal,
        scopes=frozenset(holder.scopes),
        key_id=holder.id,
        models=holder.models,
        collections=holder.collections,
        key_generation=holder.generation,
        tenant_generation=tenant.generation if tenant else 0,
        expires_at=expires_at,
    )
