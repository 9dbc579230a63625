"""The values of the fair queue: what a call asks of a pool, what a pool is, and what the queue answers."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")

# The largest whole number that Lua's doubles hold exactly; counters stop there, after 10^9 tokens a second for 100 days.
MOST_COUNTER = 2**53 - 1
# A provider that asks for more is asked again after this.
MOST_RETRY_AFTER_US = 60_000_000
MOST_PRIORITY = 9
THOUSAND = 1000


class Kind(StrEnum):
    """What a pool's capacity counts: calls at once, or tokens in flight (input and most output of the running calls)."""

    SEATS = "seats"
    TOKENS = "tokens"


class How(StrEnum):
    """How a call ended: answered, refused by the provider for its rate, or anything else."""

    OK = "ok"
    THROTTLED = "throttled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """A pool as it is set. Price weights say what an input and an output token cost in service; `most_waiting` is how
    many calls may wait; an adaptive pool follows what its provider takes, within 1 and `capacity`."""

    kind: Kind = Kind.SEATS
    capacity: int = 256
    input_weight: int = 1
    output_weight: int = 2
    most_waiting: int = 20_000
    adaptive: bool = False


@dataclass(frozen=True, slots=True)
class QueueTerms:
    """How long a lease and a waiting call's place last without renewal, after how long an idle tenant is forgotten, how
    long a dropped call is remembered, and how many things one call ends or grants at most."""

    lease_us: int = 15_000_000
    idle_us: int = 600_000_000
    remember_us: int = 60_000_000
    batch: int = 16


@dataclass(frozen=True, slots=True)
class Call:
    """A call that wants a place in a pool. `weight` is its tenant's, `most_running` how many of the tenant's calls may
    run in this pool; a higher priority goes first among its tenant's; `within_us` is the longest wait of use, 0 for any."""

    ticket: str
    organisation: str
    tenant: str
    weight: int
    most_running: int
    priority: int
    input_tokens: int
    max_output_tokens: int
    within_us: int = 0


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease: the call may run until `ends_us`, and longer when it is renewed. `epoch` names the books that know it."""

    epoch: str
    ends_us: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """`place` 1 is the next of its tenant's; the wait is an estimate, 0 when nothing was measured yet."""

    place: int
    wait_us: int


@dataclass(frozen=True, slots=True)
class Late:
    """The call can't begin before its deadline."""

    wait_us: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """The queue was full, and this call the last of the longest weighted backlog."""

    wait_us: int = 0


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The call alone is larger than the pool."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing is known of the call: it ended, or the books lost it."""


@dataclass(frozen=True, slots=True)
class News:
    """A waiting call was granted, or else dropped, by what another call did."""

    ticket: str
    granted: bool


@dataclass(frozen=True, slots=True)
class Said(Generic[T]):
    """What a script said: its answer, what it did to other waiting calls, when by Redis's time, and the lease of a call that
    it granted."""

    answer: T
    news: tuple[News, ...]
    now_us: int
    lease: Granted


@dataclass(frozen=True, slots=True)
class Row:
    """One tenant in a pool. `share` is in millionths, 0 when it does not wait; the wait is its last waiting call's."""

    tenant: str
    running: int
    waiting: int
    weight: int
    share: int
    wait_us: int


@dataclass(frozen=True, slots=True)
class Use:
    """What is in use of a pool, how much may be now, and how many calls wait."""

    used: int
    room: int
    waiting: int


Answer = Granted | Waiting | Late | Dropped | TooLarge | Gone


@dataclass(slots=True)
class Organisation:
    """`ready` are its tenants in the order, `weights` the sum of theirs; `backlog` is weighted. `last` is the counter
    of the tenant that stopped waiting last, or that tenant's name while it is known."""

    counter: int = 0
    members: int = 0
    ready: set[str] = field(default_factory=set[str])
    weights: int = 0
    backlog: int = 0
    last: int = 0
    last_tenant: str = ""

    @property
    def weight(self) -> int:
        """Its share among organisations, in thousandths: the mean weight of its tenants in the order."""
        return THOUSAND * self.weights // len(self.ready) if self.ready else 0


@dataclass(slots=True)
class Tenant:
    """`seen_us` is when a call of it last came or went; `rest` is the part of its charges that did not make a whole of the
    counter; `line` are its waiting calls in order: 9 less priority, number, ticket."""

    organisation: str
    weight: int
    most_running: int
    seen_us: int = 0
    counter: int = 0
    rest: int = 0
    running: int = 0
    backlog: int = 0
    line: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])


@dataclass(slots=True)
class Ticket:
    """A waiting or running call; `deadline_us` is 0 for none, `granted_us` 0 while it waits, `backlog` its part of its
    tenant's, `counted` the output tokens that were charged."""

    call: Call
    size: int
    number: int
    deadline_us: int = 0
    backlog: int = 0
    granted_us: int = 0
    counted: int = 0

    @property
    def in_line(self) -> tuple[int, int, str]:
        """Its place among its tenant's."""
        return MOST_PRIORITY - self.call.priority, self.number, self.call.ticket

    def cost(self, settings: PoolSettings) -> int:
        """What it was charged so far: an input token at least, or a tenant of empty calls would never lose its turn."""
        return max(1, self.call.input_tokens) * settings.input_weight + self.counted * settings.output_weight


def size_of(settings: PoolSettings, input_tokens: int, max_output_tokens: int) -> int:
    """How much of the pool's capacity the call takes while it runs."""
    return 1 if settings.kind is Kind.SEATS else max(1, input_tokens + max_output_tokens)
