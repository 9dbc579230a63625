"""What limits and a pool would have done to a trace: the rules of the books (`gate.py`) and of the queue (`vtc.py`) on virtual
time, before a provider that writes one token of every running call at a time.

    served = simulate(arrivals, PoolSettings(Kind.TOKENS, 10_000), Provider(0.043), {"acme": Member("acme", 2)})
    first_come = simulate(arrivals, ..., fair=False)
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from tenantry.kit.owner import Tenant
from tenantry.quota.entries import NO_OVERRIDES, Limits
from tenantry.quota.gate import Gate
from tenantry.quota.slot import Answer, Call, Dropped, Granted, How, Late, PoolSettings, QueueTerms, TooLarge, Waiting
from tenantry.quota.vtc import Queue

_SECOND_US = 1_000_000
# Time 0 means "never" to the queue.
_BEGIN_US = _SECOND_US
# Output is charged as often as the real service hears of it, more or less.
_TOKENS_A_CHARGE = 16
# In virtual time nobody goes away, so that nothing has to be renewed.
_TERMS = QueueTerms(lease_us=2**50, idle_us=2**50, remember_us=1)
_EVERYBODY = "everybody"
_ARRIVES, _GIVES_UP = -1, -2
_FULL, _LATE = "queue_full", "queue_late"
_REFUSED: Mapping[type[Answer], str] = {Late: _LATE, Dropped: _FULL, TooLarge: "larger_than_pool"}


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """A request: seconds since the beginning, whose it is, its tokens, and how long it may wait (0: without end)."""

    at_s: float
    tenant: str
    input_tokens: int = 256
    output_tokens: int = 256
    patience_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Member:
    """A tenant: whose it is, its weight, how many of its calls may run at once, and its limits."""

    organisation: str
    weight: int = 1
    most_running: int = 100_000
    limits: Limits = NO_OVERRIDES


@dataclass(frozen=True, slots=True)
class Provider:
    """Seconds that each token of the answer takes, and each token that is read."""

    token_s: float
    read_s: float = 0.0

    def reading_s(self, arrival: Arrival) -> float:
        return arrival.input_tokens * self.read_s


@dataclass(slots=True)
class Fate:
    """What became of a request: when it was granted and answered, or, when it never was, when it left and what refused it: a
    limit's measure, `queue_late`, `queue_full` or `larger_than_pool`."""

    arrival: Arrival
    granted_s: float | None = None
    ended_s: float | None = None
    left_s: float | None = None
    refused: str = ""

    @property
    def wait_s(self) -> float | None:
        return None if self.granted_s is None else max(0.0, self.granted_s - self.arrival.at_s)


@dataclass(slots=True)
class _Run:
    """A simulation under way. Events are (microsecond, number, ticket, tokens written), or in place of these that it arrives (-1)
    or has no more patience (-2)."""

    settings: PoolSettings
    provider: Provider
    members: Mapping[str, Member]
    fair: bool
    done: Callable[[], None]
    gate: Gate = field(default_factory=Gate)
    fates: dict[str, Fate] = field(default_factory=dict[str, Fate])
    queue: Queue = field(default_factory=lambda: Queue(_TERMS, epoch="simulated"))
    events: list[tuple[int, int, str, int]] = field(default_factory=list[tuple[int, int, str, int]])
    numbers: "count[int]" = field(default_factory=count)

    def go(self, arrivals: Iterable[Arrival]) -> None:
        for number, arrival in enumerate(arrivals):
            ticket = f"{number:08}"
            self.fates[ticket] = Fate(arrival)
            self._later(arrival.at_s, ticket, _ARRIVES)
        while self.events:
            now_us, _, ticket, written = heappop(self.events)
            if written == _ARRIVES:
                self._arrive(now_us, ticket)
            elif written == _GIVES_UP:
                self._give_up(now_us, ticket)
            else:
                self._write(now_us, ticket, written)
            news, self.queue.news = self.queue.news, []
            for one in news:
                if one.granted:
                    self._begin(now_us, one.ticket)
                else:
                    self._leave(now_us, one.ticket, _FULL)

    def _arrive(self, now_us: int, ticket: str) -> None:
        arrival = self.fates[ticket].arrival
        member = self._member(arrival)
        if member.limits != NO_OVERRIDES:
            owner = Tenant(member.organisation, arrival.tenant)
            if refused := self.gate.admit(now_us, ticket, owner, member.limits, _tokens(arrival)):
                self._leave(now_us, ticket, refused)
                return
        answer = self._acquire(now_us, ticket, arrival)
        if isinstance(answer, Granted):
            self._begin(now_us, ticket)
        elif not isinstance(answer, Waiting):
            self._leave(now_us, ticket, _REFUSED[type(answer)])
        elif arrival.patience_s:
            self._later(arrival.at_s + arrival.patience_s, ticket, _GIVES_UP)

    def _give_up(self, now_us: int, ticket: str) -> None:
        fate = self.fates[ticket]
        if fate.granted_s is None and fate.left_s is None:
            self.queue.release(now_us, ticket, self._tenant(fate), 0, How.FAILED, 0, self.settings)
            self._leave(now_us, ticket, _LATE)

    def _tenant(self, fate: Fate) -> str:
        return fate.arrival.tenant if self.fair else _EVERYBODY

    def _leave(self, now_us: int, ticket: str, refused: str) -> None:
        fate = self.fates[ticket]
        fate.left_s, fate.refused = _seconds(now_us), refused
        self._end(now_us, ticket, None)

    def _end(self, now_us: int, ticket: str, tokens: tuple[int, int] | None) -> None:
        if self._member(self.fates[ticket].arrival).limits != NO_OVERRIDES:
            self.gate.end(now_us, ticket, tokens)
        self.done()

    def _member(self, arrival: Arrival) -> Member:
        return self.members.get(arrival.tenant, Member(arrival.tenant))

    def _acquire(self, now_us: int, ticket: str, arrival: Arrival) -> Answer:
        member = self._member(arrival)
        if not self.fair:  # all are one tenant, whose calls go as they come
            member = Member(_EVERYBODY)
        tenant = arrival.tenant if self.fair else _EVERYBODY
        call = Call(
            ticket,
            member.organisation,
            tenant,
            member.weight,
            member.most_running,
            0,
            *_tokens(arrival),
            int(arrival.patience_s * _SECOND_US),
        )
        return self.queue.acquire(now_us, call, self.settings)

    def _begin(self, now_us: int, ticket: str) -> None:
        fate = self.fates[ticket]
        fate.granted_s = _seconds(now_us)
        self._next(ticket, fate, fate.granted_s + self.provider.reading_s(fate.arrival), 0)

    def _write(self, now_us: int, ticket: str, written: int) -> None:
        fate = self.fates[ticket]
        tenant = self._tenant(fate)
        if written == fate.arrival.output_tokens:
            fate.ended_s = _seconds(now_us)
            self.queue.release(now_us, ticket, tenant, written, How.OK, 0, self.settings)
            self._end(now_us, ticket, _tokens(fate.arrival))
        else:
            self.queue.renew(now_us, ticket, tenant, written, self.settings)
            self._next(ticket, fate, _seconds(now_us), written)

    def _next(self, ticket: str, fate: Fate, now_s: float, written: int) -> None:
        more = min(_TOKENS_A_CHARGE, fate.arrival.output_tokens - written)
        self._later(now_s + more * self.provider.token_s, ticket, written + more)

    def _later(self, at_s: float, ticket: str, written: int) -> None:
        heappush(self.events, (_BEGIN_US + round(at_s * _SECOND_US), next(self.numbers), ticket, written))


def simulate(
    arrivals: Iterable[Arrival],
    settings: PoolSettings,
    provider: Provider,
    members: Mapping[str, Member] | None = None,
    *,
    fair: bool = True,
    done: Callable[[], None] = lambda: None,
) -> list[Fate]:
    """What becomes of each request, in the order of the arrivals. A tenant that `members` does not name has an organisation of
    its own, the weight 1 and no limits; without `fair`, first come is first served. `done` hears of each whose fate is known."""
    run = _Run(settings, provider, members or {}, fair, done)
    run.go(arrivals)
    return list(run.fates.values())


def _tokens(arrival: Arrival) -> tuple[int, int]:
    return arrival.input_tokens, arrival.output_tokens


def _seconds(now_us: int) -> float:
    return (now_us - _BEGIN_US) / _SECOND_US
