"""The refusals and faults that a use case, rule or store may raise; `kit.status` turns them into gRPC statuses.

TenantryError
├── InvalidArgument        what was sent is wrong: names each field
├── Unauthenticated        no credential, or not a valid one
├── PermissionDenied       known, but not allowed
├── NotFound               absent, or another tenant's
├── AlreadyExists          the id is taken
│   └── Conflict           raised by kit.sql for a unique constraint; a use case says what it means
├── FailedPrecondition     the state does not allow it
├── Aborted                somebody else was faster; read again
├── ResourceExhausted      a limit; says which, and when to come back
├── Unavailable            something we depend on is away; says when to come back
│   └── StoreUnavailable   a store can't be reached              (transient)
├── DeadlineExceeded       the time ran out
└── Internal               a fault of ours; its words are for the log only
    └── StoreFailed        a store refused what we asked of it   (not transient)
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Self


class Reason(StrEnum):
    """Why a call was refused: the names of `common/v1/error_reason.proto` without their prefix."""

    INVALID_FIELD = "INVALID_FIELD"
    TEMPLATE_INVALID = "TEMPLATE_INVALID"
    TOO_LARGE = "TOO_LARGE"
    CREDENTIAL_MISSING = "CREDENTIAL_MISSING"
    CREDENTIAL_INVALID = "CREDENTIAL_INVALID"
    SERVICE_IDENTITY_INVALID = "SERVICE_IDENTITY_INVALID"
    SCOPE_MISSING = "SCOPE_MISSING"
    CALLER_NOT_ALLOWED = "CALLER_NOT_ALLOWED"
    RECEIPT_INVALID = "RECEIPT_INVALID"
    MODEL_DENIED = "MODEL_DENIED"
    COLLECTION_DENIED = "COLLECTION_DENIED"
    NETWORK_DENIED = "NETWORK_DENIED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    TENANT_NOT_ACTIVE = "TENANT_NOT_ACTIVE"
    TENANT_NOT_PROVISIONED = "TENANT_NOT_PROVISIONED"
    STORE_UNFIT = "STORE_UNFIT"
    NO_MODEL = "NO_MODEL"
    STILL_IN_USE = "STILL_IN_USE"
    KEY_NOT_CURRENT = "KEY_NOT_CURRENT"
    VERSION_CONFLICT = "VERSION_CONFLICT"
    HANDLE_LOST = "HANDLE_LOST"
    REQUESTS_PER_MINUTE = "REQUESTS_PER_MINUTE"
    TOKENS_PER_MINUTE = "TOKENS_PER_MINUTE"
    CONCURRENT_REQUESTS = "CONCURRENT_REQUESTS"
    TOKENS_BUDGET = "TOKENS_BUDGET"
    COST_BUDGET = "COST_BUDGET"
    OUTBOX_FULL = "OUTBOX_FULL"
    LARGER_THAN_LIMIT = "LARGER_THAN_LIMIT"
    SERVER_BUSY = "SERVER_BUSY"
    TOO_MANY = "TOO_MANY"
    CALLS_PER_MINUTE = "CALLS_PER_MINUTE"
    TOO_MANY_FAILURES = "TOO_MANY_FAILURES"
    QUEUE_LATE = "QUEUE_LATE"
    QUEUE_FULL = "QUEUE_FULL"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"
    PROVIDER_RATE_LIMITED = "PROVIDER_RATE_LIMITED"
    PROVIDER_REFUSED = "PROVIDER_REFUSED"
    ISSUER_UNAVAILABLE = "ISSUER_UNAVAILABLE"
    DEADLINE = "DEADLINE"
    INTERNAL = "INTERNAL"
    OUTPUT_INVALID = "OUTPUT_INVALID"


class TenantryError(Exception):
    """A refusal or fault with a code, a reason, a sentence for people and figures for programs."""

    code: ClassVar[str] = "UNKNOWN"
    # Whether the audit log knows of it already, from the use case or from the service that refused.
    noted: bool = False
    reason: Reason
    message: str
    metadata: dict[str, str]

    def __init__(self, reason: Reason, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata


class InvalidArgument(TenantryError):
    """The request is wrong. `violations` pairs each field's path (`limits.tokens_per_minute`) with what is wrong."""

    code = "INVALID_ARGUMENT"
    violations: list[tuple[str, str]]

    def __init__(self, field: str, description: str, *, reason: Reason = Reason.INVALID_FIELD, **metadata: str) -> None:
        super().__init__(reason, f"{field}: {description}" if field else description, **metadata)
        self.violations = [(field, description)] if field else []

    @classmethod
    def many(
        cls,
        violations: Sequence[tuple[str, str]],
        *,
        reason: Reason = Reason.INVALID_FIELD,
        message: str | None = None,
        **metadata: str,
    ) -> Self:
        """Several wrong fields at once; the message joins them unless it is given."""
        error = cls(
            "", message or "; ".join(f"{field}: {what}" for field, what in violations), reason=reason, **metadata
        )
        error.violations = list(violations)
        return error


class Unauthenticated(TenantryError):
    """There is no valid proof of who calls."""

    code = "UNAUTHENTICATED"


class PermissionDenied(TenantryError):
    """The caller is known and may not do this."""

    code = "PERMISSION_DENIED"


class NotFound(TenantryError):
    """What was named does not exist for this caller; the same for what belongs to another tenant."""

    code = "NOT_FOUND"


class AlreadyExists(TenantryError):
    """The id is taken."""

    code = "ALREADY_EXISTS"


class Conflict(AlreadyExists):
    """A unique constraint refused a row. A use case says what exists; uncaught, it is still a true answer."""

    transient: ClassVar[bool] = False

    def __init__(self, message: str = "it exists already") -> None:
        super().__init__(Reason.ALREADY_EXISTS, message)


class FailedPrecondition(TenantryError):
    """The state of the system does not allow it, and repeating does not help until that changes."""

    code = "FAILED_PRECONDITION"


class Aborted(TenantryError):
    """Somebody else was faster; read again and start over."""

    code = "ABORTED"


class ResourceExhausted(TenantryError):
    """A limit refused. `violations` pairs each limit's subject (`tenant:acme`) with its description; waiting helps
    when `retry_after_s` is set."""

    code = "RESOURCE_EXHAUSTED"
    retry_after_s: float | None
    violations: list[tuple[str, str]]

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        retry_after_s: float | None = None,
        violations: Sequence[tuple[str, str]] = (),
        **metadata: str,
    ) -> None:
        super().__init__(reason, message, **metadata)
        self.retry_after_s = retry_after_s
        self.violations = list(violations)


class Unavailable(TenantryError):
    """Something we depend on is away. Trying again after `retry_after_s` may help."""

    code = "UNAVAILABLE"
    retry_after_s: float | None

    def __init__(self, reason: Reason, message: str, *, retry_after_s: float | None = 1.0, **metadata: str) -> None:
        super().__init__(reason, message, **metadata)
        self.retry_after_s = retry_after_s


class StoreUnavailable(Unavailable):
    """A store can't be reached. `store` is our name for it (`books`, `cache`, `sql`), never an address. Not `away`: it is there,
    and can't take this now, for want of memory, disk or connections."""

    transient: ClassVar[bool] = True

    def __init__(self, store: str, *, retry_after_s: float | None = 1.0, away: bool = True) -> None:
        super().__init__(
            Reason.STORE_UNAVAILABLE, f"the store `{store}` can't be reached", retry_after_s=retry_after_s, store=store
        )
        self.away = away


class DeadlineExceeded(TenantryError):
    """The call's time ran out."""

    code = "DEADLINE_EXCEEDED"

    def __init__(self, reason: Reason = Reason.DEADLINE, message: str = "the call's time ran out") -> None:
        super().__init__(reason, message)


class Internal(TenantryError):
    """A fault of ours. `message` is for the log; the client sees a generic sentence and the error id."""

    code = "INTERNAL"
    error_id: str

    def __init__(self, message: str, *, error_id: str = "") -> None:
        super().__init__(Reason.INTERNAL, message)
        self.error_id = error_id


class StoreFailed(Internal):
    """A store refused what we asked of it, and would again."""

    transient: ClassVar[bool] = False
