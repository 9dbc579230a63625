"""What tenancy keeps: frozen values, the same in rules, use cases and stores. Times are Unix nanoseconds."""

from dataclasses import dataclass, field
from enum import StrEnum


class Tier(StrEnum):
    """A class of service."""

    FREE = "free"
    PRO = "pro"
    ENTERPRISE = "enterprise"


class TenantState(StrEnum):
    """Whether a tenant is served: only when ACTIVE."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    DELETING = "DELETING"
    DELETED = "DELETED"
    SUSPENDED = "SUSPENDED"


class OperationKind(StrEnum):
    """What an operation does."""

    CREATE_TENANT = "CREATE_TENANT"
    DELETE_TENANT = "DELETE_TENANT"


class Progress(StrEnum):
    """How far an operation or a step is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class Organisation:
    """A customer firm."""

    id: str
    display_name: str
    created_ns: int
    version: int = 1


@dataclass(frozen=True, slots=True)
class Tenant:
    """The unit of isolation. `operation` is the last one about it; `generation` rises when callers must be told
    anew."""

    id: str
    organisation: str
    display_name: str
    tier: Tier
    state: TenantState
    operation: str
    created_ns: int
    version: int = 1
    generation: int = 1


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret, of which only the digest is kept. It is a tenant's, an organisation's or an
    operator's."""

    id: str
    tenant: str
    organisation: str
    display_name: str
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    collections: tuple[str, ...]
    digest: bytes
    created_ns: int
    expires_ns: int | None = None
    revoked_ns: int | None = None
    generation: int = 1
    version: int = 1
    networks: tuple[str, ...] = ()
    # When it was last written down that the key was used: no part of what it may do.
    last_used_ns: int | None = field(default=None, compare=False)
    replaced_by: str = ""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Assertions of a key or tenant below `generation` are refused. `kind` is that of the change log, `number` its place
    in it; `state` is a tenant's."""

    kind: str
    id: str
    generation: int
    state: TenantState | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Issuer:
    """An OIDC issuer whose tokens are credentials of one tenant's callers. A URL's id is always the same, and its
    generation only rises, so that what was made of a removed issuer's tokens stays refused whoever has it next."""

    id: str
    tenant: str
    organisation: str
    url: str
    audience: str
    scopes: tuple[str, ...]
    narrowed: bool
    models: tuple[str, ...]
    collections: tuple[str, ...]
    networks: tuple[str, ...]
    created_ns: int
    removed_ns: int | None = None
    generation: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One service's part of an operation. Steps of a stage go side by side, stages one after another."""

    service: str
    stage: int
    state: Progress = Progress.PENDING
    attempts: int = 0
    did: str = ""
    error: str = ""
    due_ns: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """Long work on a tenant. `version` rises with each change, so that a watcher knows what it has seen."""

    id: str
    kind: OperationKind
    tenant: str
    organisation: str
    tier: Tier
    state: Progress
    steps: tuple[Step, ...]
    created_ns: int
    ended_ns: int | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What happened, before it has a place in a log. It holds ids, never content.

    `service` is where it happened, "" for tenancy itself; `count` is how many equal ones it stands for.
    """

    time_ns: int
    principal: str
    action: str
    subject: str
    outcome: str = "OK"
    service: str = ""
    reason: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An entry at its place in its owner's log."""

    number: int
    entry: AuditEntry
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of a log: its name, and its last event's number and hash."""

    log: str
    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair that tokens are signed with; the private half is sealed."""

    id: str
    public_key: bytes
    sealed: bytes
    not_before_ns: int
    not_after_ns: int | None = None
