"""The errors that a provider's failure comes out as. A provider's own words are never part of them: they may quote content."""

from enum import StrEnum

from tenantry.kit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Reason,
    ResourceExhausted,
    TenantryError,
    Unavailable,
)

# A provider that asks for more patience than this is believed to mean its daily limit, and a client shall look itself.
MOST_RETRY_AFTER_S = 3600.0


class Kind(StrEnum):
    """How a provider failed."""

    OVERLOADED = "overloaded"
    FAILED = "failed"
    GARBAGE = "garbage"
    CUT = "cut"


_SENTENCES = {
    Kind.OVERLOADED: "the provider is overloaded",
    Kind.FAILED: "the provider failed or can't be reached",
    Kind.GARBAGE: "the provider's answer can't be understood",
    Kind.CUT: "the provider's answer broke off",
}


def unavailable(provider: str, kind: Kind, retry_after_s: float = 1.0) -> Unavailable:
    """The provider failed; another may do better, or the same one later."""
    return Unavailable(
        Reason.PROVIDER_UNAVAILABLE, _SENTENCES[kind], retry_after_s=retry_after_s, provider=provider, kind=kind.value
    )


def rate_limited(provider: str, retry_after_s: float | None) -> ResourceExhausted:
    """The provider refused for its own rate limit."""
    return ResourceExhausted(
        Reason.PROVIDER_RATE_LIMITED,
        "the provider refused for its own rate limit",
        retry_after_s=retry_after_s,
        provider=provider,
    )


def refused(provider: str) -> FailedPrecondition:
    """The provider refused the request or the credential."""
    message = "the provider refused the request or its credential; correct the model's registration or the credential"
    return FailedPrecondition(Reason.PROVIDER_REFUSED, message, provider=provider)


def no_credential(provider: str) -> FailedPrecondition:
    """There is no credential to show the provider."""
    message = "there is no credential for the model's provider and address; set one"
    return FailedPrecondition(Reason.PROVIDER_REFUSED, message, provider=provider)


def of_status(provider: str, status: int, retry_after: str | None) -> TenantryError:
    """What an HTTP status that is no success means."""
    wait_s = retry_after_s(retry_after)
    if status == 429:
        return rate_limited(provider, wait_s)
    if status in (503, 529):
        return unavailable(provider, Kind.OVERLOADED, wait_s or 1.0)
    if status >= 500 or status == 408:
        return unavailable(provider, Kind.FAILED, wait_s or 1.0)
    if 400 <= status < 500:
        return refused(provider)
    # Redirects are not followed, since a credential must not go elsewhere.
    return unavailable(provider, Kind.GARBAGE)


def retry_after_s(header: str | None) -> float | None:
    """The seconds that a `retry-after` header names, within bounds; None without a number (dates are passed over)."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return min(seconds, MOST_RETRY_AFTER_S) if seconds >= 0 else None


def seat_lost() -> Unavailable:
    """The call's place in its pool is another call's: quota was away for longer than a lease lasts."""
    message = "the queue was away for too long, and the call's place was given to another"
    return Unavailable(Reason.SERVICE_UNAVAILABLE, message, service="quota")


def out_of_time() -> DeadlineExceeded:
    """The caller's own time ran out."""
    return DeadlineExceeded(message="the call's time ran out before the provider was done")


def used(error: TenantryError, model: str, read: int, written: int, cached: int, cost_micros: int) -> None:
    """Adds what was used to the error of an answer that broke off: tokens of input, output and cached input, and the cost."""
    counts = {"input_tokens": read, "output_tokens": written, "cost_micros": cost_micros}
    if cached:
        counts["cached_input_tokens"] = cached
    error.metadata |= {"model": model} | {name: str(count) for name, count in counts.items()}
