"""The values that quota's rules, use cases and stores hand to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantry.kit.owner import Tenant
from tenantry.kit.usage import Usage


@dataclass(frozen=True, slots=True)
class Limits:
    """What is limited for one subject; 0: nothing here (in a tenant's overrides: the tier's own). A rate and its burst, what
    may be taken at once from a full bucket, go together. Days and months are calendar ones; costs are in millionths of a
    US dollar."""

    requests_per_minute: int = 0
    request_burst: int = 0
    tokens_per_minute: int = 0
    token_burst: int = 0
    concurrent_requests: int = 0
    input_tokens_per_minute: int = 0
    input_token_burst: int = 0
    output_tokens_per_minute: int = 0
    output_token_burst: int = 0
    tokens_per_day: int = 0
    tokens_per_month: int = 0
    cost_micros_per_day: int = 0
    cost_micros_per_month: int = 0

    @property
    def rates(self) -> tuple[tuple[int, int], ...]:
        """Rate a minute and burst of requests, tokens, input and output: the order of `counters.RATES`."""
        return (
            (self.requests_per_minute, self.request_burst),
            (self.tokens_per_minute, self.token_burst),
            (self.input_tokens_per_minute, self.input_token_burst),
            (self.output_tokens_per_minute, self.output_token_burst),
        )

    @property
    def budgets(self) -> tuple[int, ...]:
        """Amounts of calendar periods: the order of `counters.BUDGETS`."""
        return (self.tokens_per_day, self.tokens_per_month, self.cost_micros_per_day, self.cost_micros_per_month)


@dataclass(frozen=True, slots=True)
class CallLimit:
    """How many calls of any kind may enter the mesh, and how many of them at once."""

    calls_per_minute: int
    burst: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of calls that entered: 0 if they were counted, else microseconds to wait (NEVER: they can't ever be); and how
    many more were counted ahead."""

    wait_us: int
    ahead: int = 0


NO_OVERRIDES = Limits()


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """What administrators set for a tenant: limits of its own, the time zone of its days and months, and its weight where
    calls wait (0: the tier's)."""

    overrides: Limits
    time_zone: str = "UTC"
    queue_weight: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """Limits of an organisation (`tenant` is "") or a tenant, narrowed to an API key, an end user ("*": each by itself), a
    model, or several of these; "" is any. `version` counts its writes."""

    owner: Tenant
    key_id: str
    end_user: str
    model: str
    limits: Limits
    version: int = 0


# By what they are about: key, end user, model.
Rules = Mapping[tuple[str, str, str], Rule]
NO_RULES: Rules = {}


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What quota's SQL knows of a tenant. `version` counts the writes of its overrides, 0 for none; `time_zone` is that of
    its days and months; `queue_weight` is 0 for the tier's."""

    tenant: str
    organisation: str
    tier: str
    overrides: Limits
    version: int
    time_zone: str = "UTC"
    queue_weight: int = 0
    rules: Rules = field(default_factory=dict[tuple[str, str, str], Rule])


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose counters a request is counted in, under which limits. `field` names the counters (keys.py); `shown` is for
    people. Counters of a crowd, whose members nobody named, are bounded: when it is full, newcomers share `others`."""

    field: str
    shown: str
    limits: Limits
    local: bool
    crowd: str = ""
    others: str = ""


@dataclass(frozen=True, slots=True)
class Calendar:
    """When days and months begin, in microseconds: the one before the current, the current, the next, and the one after. In
    Redis's time any of the first three may be the current one."""

    days: tuple[int, int, int, int]
    months: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Demand:
    """What applies to a request. The first subject is the tenant itself. `local` is the calendar of the tenant's time zone,
    `utc` that of its organisation's limits, whose tenants may live in many zones."""

    subjects: tuple[Subject, ...]
    local: Calendar
    utc: Calendar


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a request holds, used or gets back. `tokens` has a limit of its own, so it stands beside its parts."""

    requests: int = 0
    tokens: int = 0
    input: int = 0
    output: int = 0
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request may use at most, and all that an entry needs should nobody come back to settle it. Prices are in
    millionths of a US dollar for a million tokens."""

    owner: Tenant
    reservation: str
    nonce: str
    key_id: str
    end_user: str
    model: str
    request_id: str
    input_tokens: int
    max_output_tokens: int
    input_price: int = 0
    output_price: int = 0


@dataclass(frozen=True, slots=True)
class Full:
    """A limit that refuses: what is used of it, and how many microseconds it makes the request wait (-1: for ever)."""

    subject: int
    measure: str
    used: int
    wait_us: int


@dataclass(frozen=True, slots=True)
class Warned:
    """A limit of which 50, 80 or 100 % are used now, for the first time in its period or, of a rate, in this hour."""

    subject: int
    measure: str
    percent: int


@dataclass(frozen=True, slots=True)
class Held:
    """A hold: the ask that took it (of two with one nonce, the first), since when and until when unless it is renewed, and
    how much output it is for: the most, or what the tenant's answers are expected to need."""

    ask: Ask
    reserved_us: int
    ends_us: int
    output_tokens: int
    warnings: tuple[Warned, ...] = ()

    @property
    def tokens(self) -> int:
        return self.ask.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Refused:
    """All limits that refuse. `under` is what applied where it is less than what was asked about."""

    limits: tuple[Full, ...]
    warnings: tuple[Warned, ...] = ()
    under: Demand | None = None


@dataclass(frozen=True, slots=True)
class OutboxFull:
    """The ledger has not read for so long that nothing may be added to what it must read."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """When the hold ends now and how much output it is for."""

    ends_us: int
    output_tokens: int
    warnings: tuple[Warned, ...] = ()


@dataclass(frozen=True, slots=True)
class Used:
    """What one limit has given, and when it is whole again; `warned` is the last warning's percentage."""

    measure: str
    used: int
    free_us: int
    warned: int


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


def estimate_of(ask: Ask, renewed_us: int, reserved_us: int, output_tokens: int, cost_micros: int) -> Settled:
    """The entry of a hold whose owner went away: all that it held, at its last renewal."""
    usage = Usage(
        input_tokens=ask.input_tokens,
        output_tokens=output_tokens,
        cost_micros=cost_micros,
        model=ask.model,
        request_id=ask.request_id,
        latency_ns=max(0, renewed_us - reserved_us) * 1000,
    )
    return Settled(ask.reservation, ask.owner, ask.key_id, ask.end_user, True, renewed_us, usage)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in one bucket's outbox, at first its beginning. It means nothing in another epoch: each start or failover of
    the bucket's server begins one, in which entries that were read may be forgotten and later ones may stand before them."""

    bucket: int
    epoch: str = ""
    position: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries of one bucket in order, and the cursor that acknowledges them."""

    entries: tuple[Settled, ...]
    cursor: Cursor
