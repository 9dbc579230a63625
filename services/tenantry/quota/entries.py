"""The values that quota's rules, use cases and stores hand to each other."""

from dataclasses import dataclass

from tenantry.kit.owner import Tenant
from tenantry.kit.usage import Usage


@dataclass(frozen=True, slots=True)
class Limits:
    """A tenant's limits; in overrides 0 means the tier's own. Bursts are what may be taken at once from a full
    bucket."""

    requests_per_minute: int
    request_burst: int
    tokens_per_minute: int
    token_burst: int
    concurrent_requests: int


@dataclass(frozen=True, slots=True)
class CallLimit:
    """How many calls of any kind may enter the mesh, and how many of them at once."""

    calls_per_minute: int
    burst: int


NO_OVERRIDES = Limits(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What quota's SQL knows of a tenant. `version` counts the writes of its overrides, 0 for none."""

    tenant: str
    organisation: str
    tier: str
    overrides: Limits
    version: int


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request may use at most, and all that an entry needs should nobody come back to settle it."""

    owner: Tenant
    reservation: str
    nonce: str
    key_id: str
    end_user: str
    model: str
    request_id: str
    input_tokens: int
    max_output_tokens: int

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.max_output_tokens


@dataclass(frozen=True, slots=True)
class Held:
    """A hold: the ask that took it (of two with one nonce, the first), since when and until when unless it is
    renewed."""

    ask: Ask
    reserved_us: int
    ends_us: int


@dataclass(frozen=True, slots=True)
class Refused:
    """How many microseconds each limit makes the request wait: 0 for none, -1 for ever. `running`: too many run now."""

    requests_us: int
    tokens_us: int
    running: bool


@dataclass(frozen=True, slots=True)
class OutboxFull:
    """The ledger has not read for so long that nothing may be added to what it must read."""


@dataclass(frozen=True, slots=True)
class Use:
    """How much of each limit is free. `tokens_available` is below 0 while there are debts."""

    requests_available: int
    tokens_available: int
    requests_running: int


@dataclass(frozen=True, slots=True)
class Settled:
    """A settled reservation, on its way to the ledger."""

    reservation: str
    owner: Tenant
    key_id: str
    end_user: str
    estimated: bool
    settled_us: int
    usage: Usage


def estimate_of(ask: Ask, renewed_us: int, reserved_us: int) -> Settled:
    """The entry of a hold whose owner went away: all that it held, at its last renewal. The cost is not known here:
    0."""
    usage = Usage(
        input_tokens=ask.input_tokens,
        output_tokens=ask.max_output_tokens,
        model=ask.model,
        request_id=ask.request_id,
        latency_ns=max(0, renewed_us - reserved_us) * 1000,
    )
    return Settled(ask.reservation, ask.owner, ask.key_id, ask.end_user, True, renewed_us, usage)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in one bucket's outbox."""

    bucket: int
    epoch: str
    position: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries of one bucket in order, and the cursor that acknowledges them."""

    entries: tuple[Settled, ...]
    cursor: Cursor
