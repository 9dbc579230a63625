"""Holds for the gateway: reserve, renew, commit, release."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tenantry.kit.errors import FailedPrecondition, InvalidArgument, NotFound, Reason, ResourceExhausted
from tenantry.kit.ids import new_id
from tenantry.kit.owner import Tenant
from tenantry.kit.usage import Usage
from tenantry.quota import receipts
from tenantry.quota.entries import Ask, Held, Limits, OutboxFull, Refused, Settled, TenantLimits
from tenantry.quota.gcra import MOST_AMOUNT, NEVER
from tenantry.quota.receipts import Receipt
from tenantry.quota.store import Books
from tenantry.quota.tiers import limits_of

# Nobody knows when a running request ends, or when the ledger reads again.
CROWDED_RETRY_S = 1.0
FULL_RETRY_S = 5.0
_MOST_COUNT = 2**53
_LONGEST = 256
_NUL = "\0"  # PostgreSQL's texts can't hold it


@dataclass(frozen=True, slots=True)
class Granted:
    """A signed receipt, and when its hold ends unless it is renewed."""

    receipt: Receipt
    mac: bytes
    ends_us: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the gateway asks to hold for a request of the caller's tenant."""

    nonce: str
    key_id: str
    end_user: str
    model: str
    request_id: str
    input_tokens: int
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class Proven:
    """A receipt whose MAC was checked: `Reservations.prove` makes it."""

    owner: Tenant
    receipt: Receipt


class Reservations:
    """`find` gives a tenant's limits from a memory; `secret` signs receipts."""

    def __init__(self, books: Books, find: Callable[[str], Awaitable[TenantLimits | None]], secret: bytes) -> None:
        self._books = books
        self._find = find
        self._secret = secret

    async def reserve(self, owner: Tenant, wanted: Wanted) -> Granted:
        """Hold what the request may use at most. Raises ResourceExhausted naming every limit that refuses."""
        _check_wanted(wanted)
        found = await self._find(owner.id)
        if found is None or found.organisation != owner.organisation:
            raise not_provisioned()
        limits = limits_of(found.tier, found.overrides)
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
        )
        match await self._books.reserve(owner, ask, limits):
            case Held() as held:
                return self._granted(held)
            case Refused() as refused:
                raise _refusal(owner, refused, limits)
            case OutboxFull():
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

    async def renew(self, proven: Proven) -> int:
        """The microsecond when the hold ends now."""
        ends_us = await self._books.renew(proven.owner, proven.receipt.reservation)
        if not ends_us:
            raise NotFound(Reason.NOT_FOUND, "the reservation was settled, released or has ended", kind="reservation")
        return ends_us

    async def commit(self, proven: Proven, usage: Usage) -> bool:
        """Settle with the true usage; False if it was settled before."""
        _check_usage(usage)
        receipt = proven.receipt
        # The books say when.
        settled = Settled(
            receipt.reservation, proven.owner, receipt.key_id, receipt.end_user, False, 0, _fitting(usage)
        )
        return await self._books.commit(proven.owner, receipt.held_tokens, settled)

    async def release(self, proven: Proven) -> bool:
        """Give the hold back unused; False if it is not held any more."""
        return await self._books.release(proven.owner, proven.receipt.reservation)

    def _granted(self, held: Held) -> Granted:
        ask = held.ask
        receipt = Receipt(
            ask.reservation,
            ask.owner.organisation,
            ask.owner.id,
            ask.key_id,
            ask.end_user,
            ask.model,
            ask.tokens,
            held.reserved_us,
        )
        return Granted(receipt, receipts.mac_of(receipt, self._secret), held.ends_us)


def not_provisioned() -> FailedPrecondition:
    """Quota was not told to serve the tenant."""
    return FailedPrecondition(
        Reason.TENANT_NOT_PROVISIONED, "the tenant is not provisioned in this service; wait for its onboarding to end"
    )


def _refusal(owner: Tenant, refused: Refused, limits: Limits) -> ResourceExhausted:
    """Names every limit that refuses; says when all of them would admit the request, if they ever would."""
    waits: list[tuple[Reason, float | None, str]] = []
    if refused.requests_us:
        what = f"{limits.requests_per_minute} requests a minute, {limits.request_burst} at once"
        waits.append((Reason.REQUESTS_PER_MINUTE, _seconds(refused.requests_us), what))
    if refused.tokens_us:
        what = f"{limits.tokens_per_minute} tokens a minute, {limits.token_burst} at once"
        waits.append((Reason.TOKENS_PER_MINUTE, _seconds(refused.tokens_us), what))
    if refused.running:
        what = f"{limits.concurrent_requests} concurrent requests"
        waits.append((Reason.CONCURRENT_REQUESTS, CROWDED_RETRY_S, what))
    violations = [(f"tenant:{owner.id}", what) for _, _, what in waits]
    never = [what for _, wait, what in waits if wait is None]
    if never:
        message = f"the request alone is larger than the tenant's limit of {never[0]}"
        return ResourceExhausted(Reason.LARGER_THAN_LIMIT, message, violations=violations)
    message = f"the tenant's limit of {waits[0][2]} is reached"
    longest = max(wait for _, wait, _ in waits if wait is not None)
    return ResourceExhausted(waits[0][0], message, retry_after_s=longest, violations=violations)


def _seconds(wait_us: int) -> float | None:
    return None if wait_us == NEVER else wait_us / 1_000_000


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
    for field, count in (("input_tokens", wanted.input_tokens), ("max_output_tokens", wanted.max_output_tokens)):
        if not 0 <= count <= MOST_AMOUNT:
            wrong.append((field, f"is not within 0 and {MOST_AMOUNT}"))
    if wrong:
        raise InvalidArgument.many(wrong)


def _check_usage(usage: Usage) -> None:
    """Refuse figures that no request can have."""
    wrong = [
        (f"usage.{field}", f"is not within 0 and {_MOST_COUNT}")
        for field in ("input_tokens", "output_tokens", "cost_micros", "prompt_revision")
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
