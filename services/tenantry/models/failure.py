"""How a call of a provider fails: one exception with a kind, and what that means for the caller. Never a provider's own words."""

from enum import StrEnum

from tenantry.kit.errors import FailedPrecondition, Reason, ResourceExhausted, TenantryError, Unavailable

_AFTER_S = 1.0


class Kind(StrEnum):
    """What went wrong, as it stands in the error's metadata."""

    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    OVERLOADED = "overloaded"
    FAILED = "failed"
    LATE = "late"
    GARBAGE = "garbage"
    CUT = "cut"
    PAUSED = "paused"


class ProviderFailure(Exception):
    """A provider failed. `status` is its HTTP status, 0 without one; `retry_after_s` is what it asked for, or None."""

    def __init__(self, kind: Kind, *, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.status = status
        self.retry_after_s = retry_after_s


def of_status(status: int, retry_after_s: float | None) -> ProviderFailure:
    """The failure that an HTTP status means."""
    if status == 429:
        kind = Kind.RATE_LIMITED
    elif status in {503, 529}:
        kind = Kind.OVERLOADED
    elif status in {408, 504}:
        kind = Kind.LATE
    elif status >= 500:
        kind = Kind.FAILED
    else:
        kind = Kind.REFUSED
    return ProviderFailure(kind, status=status, retry_after_s=retry_after_s)


_SENTENCES = {
    Kind.OVERLOADED: "is overloaded",
    Kind.FAILED: "failed or can't be reached",
    Kind.LATE: "did not answer in time",
    Kind.GARBAGE: "answered with something that is not its protocol",
    Kind.CUT: "broke its answer off",
    Kind.PAUSED: "failed several times and is left alone for a moment",
}


def to_error(failure: ProviderFailure, provider: str, used: tuple[int, int] | None = None) -> TenantryError:
    """The error that callers see. `used` are the input and output tokens of an answer that broke after it began."""
    figures = {"provider": provider}
    if used is not None:
        figures |= {"input_tokens": str(used[0]), "output_tokens": str(used[1])}
    wait = _AFTER_S if failure.retry_after_s is None else failure.retry_after_s
    match failure.kind:
        case Kind.RATE_LIMITED:
            message = f"the provider {provider} refuses for its own rate limit"
            return ResourceExhausted(Reason.PROVIDER_RATE_LIMITED, message, retry_after_s=wait, **figures)
        case Kind.REFUSED:
            status = f" (status {failure.status})" if failure.status else ""
            message = f"the provider {provider} refused the request or the credential that it was sent{status}"
            return FailedPrecondition(Reason.PROVIDER_REFUSED, message, **figures)
        case kind:
            figures["kind"] = kind.value
            message = f"the provider {provider} {_SENTENCES[kind]}"
            return Unavailable(Reason.PROVIDER_UNAVAILABLE, message, retry_after_s=wait, **figures)
