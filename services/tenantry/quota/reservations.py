"""Holds for the gateway: reserve, renew, commit, release."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from tenantry.kit.errors import FailedPrecondition, InvalidArgument, NotFound, Reason, ResourceExhausted, Unavailable
from tenantry.kit.ids import new_id
from tenantry.kit.owner import Tenant
from tenantry.kit.usage import Usage
from tenantry.quota import receipts
from tenantry.quota.entries import Ask, Demand, Held, OutboxFull, Refused, Renewed, Settled, Warned
from tenantry.quota.gcra import MOST_AMOUNT
from tenantry.quota.in_force import InForce
from tenantry.quota.limit_rules import About
from tenantry.quota.receipts import Receipt
from tenantry.quota.refusals import refusal
from tenantry.quota.store import Books

log = logging.getLogger(__name__)

# Nobody knows when the ledger reads again.
FULL_RETRY_S = 5.0
_MOST = {
    "input_tokens": MOST_AMOUNT,
    "max_output_tokens": MOST_AMOUNT,
    "input_price_micros": 10**12,
    "output_price_micros": 10**12,
}
# A thousand dollars for a million tokens: with it all products are exact in Lua.
_MOST_HELD_PRICE = 10**9
_MOST_COUNT = 2**53
_LONGEST = 256
_NUL = "\0"  # PostgreSQL's texts can't hold it
_OK = 1  # common/v1/usage.proto: OUTCOME_OK


@dataclass(frozen=True, slots=True)
class Granted:
    """A signed receipt, when its hold ends unless it is renewed, and for how much output it is."""

    receipt: Receipt
    mac: bytes
    ends_us: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the gateway asks to hold for a request of the caller's tenant; prices are for a million tokens."""

    nonce: str
    key_id: str
    end_user: str
    model: str
    request_id: str
    input_tokens: int
    max_output_tokens: int
    input_price_micros: int = 0
    output_price_micros: int = 0


@dataclass(frozen=True, slots=True)
class Proven:
    """A receipt whose MAC was checked: `Reservations.prove` makes it."""

    owner: Tenant
    receipt: Receipt


class Reservations:
    """`secret` signs receipts; `refused` hears which tenants are."""

    def __init__(self, books: Books, in_force: InForce, secret: bytes, refused: Callable[[str], None]) -> None:
        self._books = books
        self._in_force = in_force
        self._secret = secret
        self._refused = refused

    async def reserve(self, owner: Tenant, wanted: Wanted) -> Granted:
        """Hold what the request may use. Raises ResourceExhausted naming every limit that refuses."""
        _check_wanted(wanted)
        demand = await self._in_force.demand(owner, About(wanted.key_id, wanted.end_user, wanted.model))
        if demand is None:
            raise not_provisioned()
        ask = Ask(
            owner,
            new_id("res"),
            wanted.nonce,
            wanted.key_id,
            wanted.end_user,
            wanted.model,
            wanted.request_id,
            wanted.input_tokens,
            wanted.max_output_tokens,
            min(wanted.input_price_micros, _MOST_HELD_PRICE),
            min(wanted.output_price_micros, _MOST_HELD_PRICE),
        )
        match await self._books.reserve(owner, ask, demand):
            case Held() as held:
                _warn(held.warnings, demand, owner)
                return self._granted(held)
            case Refused() as refused:
                raise self._refusal(owner, refused, demand)
            case OutboxFull():
                self._refused(owner.id)
                raise ResourceExhausted(
                    Reason.OUTBOX_FULL,
                    "too much settled usage waits for the ledger; nothing new is admitted until it reads",
                    retry_after_s=FULL_RETRY_S,
                    violations=[("platform", "settled usage that waits for the ledger")],
                )

    def prove(self, receipt: Receipt, mac: bytes, caller_tenant: str) -> Proven:
        """The receipt, as one that quota gave. `caller_tenant` is the call's, "" for a call without a caller."""
        receipts.check(receipt, mac, self._secret, caller_tenant)
        return Proven(Tenant(receipt.organisation, receipt.tenant), receipt)

    async def renew(self, proven: Proven, output_tokens: int = 0) -> Renewed:
        """Move the hold's end, and hold more when the output so far wants it. Raises ResourceExhausted when it is more than is
        held and the limits admit no more."""
        if not 0 <= output_tokens <= MOST_AMOUNT:
            raise InvalidArgument("output_tokens", f"is not within 0 and {MOST_AMOUNT}")
        owner, receipt = proven.owner, proven.receipt
        demand = await self._demand_of(proven) if output_tokens else None
        match await self._books.renew(owner, receipt.reservation, output_tokens, demand):
            case Renewed() as renewed:
                if demand is not None:
                    _warn(renewed.warnings, demand, owner)
                return renewed
            case Refused() as refused if demand is not None:
                raise self._refusal(owner, refused, demand)
            case _:
                raise NotFound(
                    Reason.NOT_FOUND, "the reservation was settled, released or has ended", kind="reservation"
                )

    async def commit(self, proven: Proven, usage: Usage) -> bool:
        """Settle with the true usage; False if it was settled before."""
        _check_usage(usage)
        receipt = proven.receipt
        # The books say when.
        settled = Settled(
            receipt.reservation, proven.owner, receipt.key_id, receipt.end_user, False, 0, _fitting(usage)
        )
        # An answer that was cut, or that no model made, says nothing of how long answers are.
        whole = usage.outcome == _OK and not usage.cache_hit
        return await self._books.commit(proven.owner, receipt.model if whole else "", settled)

    async def release(self, proven: Proven) -> bool:
        """Give the hold back unused; False if it is not held any more."""
        return await self._books.release(proven.owner, proven.receipt.reservation)

    async def _demand_of(self, proven: Proven) -> Demand | None:
        """None when the limits can't be read: a hold outlives SQL's absence, and what exceeds it is owed in the end."""
        receipt = proven.receipt
        try:
            return await self._in_force.demand(proven.owner, About(receipt.key_id, receipt.end_user, receipt.model))
        except Unavailable:
            return None

    def _refusal(self, owner: Tenant, refused: Refused, demand: Demand) -> ResourceExhausted:
        _warn(refused.warnings, demand, owner)
        self._refused(owner.id)
        return refusal(refused, refused.under or demand)

    def _granted(self, held: Held) -> Granted:
        ask = held.ask
        receipt = Receipt(
            ask.reservation,
            ask.owner.organisation,
            ask.owner.id,
            ask.key_id,
            ask.end_user,
            ask.model,
            held.tokens,
            held.reserved_us,
        )
        return Granted(receipt, receipts.mac_of(receipt, self._secret), held.ends_us, held.output_tokens)


def not_provisioned() -> FailedPrecondition:
    """Quota was not told to serve the tenant."""
    return FailedPrecondition(
        Reason.TENANT_NOT_PROVISIONED, "the tenant is not provisioned in this service; wait for its onboarding to end"
    )


def _warn(warnings: tuple[Warned, ...], demand: Demand, owner: Tenant) -> None:
    """Names the limit and not the end user: who that is, is the tenant's business."""
    for one in warnings:
        subject = demand.subjects[one.subject]
        whose = "organisation" if not subject.local else "rule" if one.subject else "tenant"
        extra = {"tenant": owner.id, "limit": one.measure, "percent": one.percent, "whose": whose}
        log.warning("%d %% of a limit are used", one.percent, extra=extra)


def _check_wanted(wanted: Wanted) -> None:
    wrong: list[tuple[str, str]] = []
    if not 16 <= len(wanted.nonce) <= 64 or not wanted.nonce.isascii() or not wanted.nonce.isprintable():
        wrong.append(("nonce", "is not 16 to 64 printable ASCII characters"))
    if not 1 <= len(wanted.model) <= 128:
        wrong.append(("model", "is not 1 to 128 characters"))
    if len(wanted.end_user.encode()) > 128:
        wrong.append(("end_user", "is longer than 128 bytes"))
    if len(wanted.request_id) > 128:
        wrong.append(("request_id", "is longer than 128 characters"))
    for field, text in (("model", wanted.model), ("end_user", wanted.end_user), ("request_id", wanted.request_id)):
        if _NUL in text:
            wrong.append((field, "holds a NUL"))
    for field, most in _MOST.items():
        if not 0 <= getattr(wanted, field) <= most:
            wrong.append((field, f"is not within 0 and {most}"))
    if wrong:
        raise InvalidArgument.many(wrong)


def _check_usage(usage: Usage) -> None:
    """Refuse figures that no request can have."""
    wrong = [
        (f"usage.{field}", f"is not within 0 and {_MOST_COUNT}")
        for field in ("input_tokens", "output_tokens", "cost_micros", "prompt_revision", "cached_input_tokens")
        if not 0 <= getattr(usage, field) <= _MOST_COUNT
    ]
    if usage.latency_ns < 0:
        wrong.append(("usage.latency", "is below 0"))
    if usage.first_token_ns is not None and usage.first_token_ns < 0:
        wrong.append(("usage.first_token_latency", "is below 0"))
    if wrong:
        raise InvalidArgument.many(wrong)


def _fitting(usage: Usage) -> Usage:
    """The usage with texts that the ledger can keep. They are cut and not refused, since some are a provider's own words,
    and no provider may keep what was used out of the ledger."""
    texts = {field: getattr(usage, field) for field in ("provider", "model", "model_revision", "request_id", "prompt")}
    wrong = {field: text for field, text in texts.items() if len(text) > _LONGEST or _NUL in text}
    if not wrong:
        return usage
    return replace(usage, **{field: text.replace(_NUL, "")[:_LONGEST] for field, text in wrong.items()})
