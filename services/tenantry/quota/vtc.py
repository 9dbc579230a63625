"""The order of a pool's waiting calls, by virtual token counters: the rules of `scripts/queue*.lua`, line by line, and
their executable specification.

Sheng et al., "Fairness in Serving Large Language Models" (OSDI '24), Algorithm 2. Each tenant has a counter of the
service it got: its input when a call is granted, its output as it streams, each token by its price weight, and all
divided by the tenant's weight. The waiting tenant with the least counter goes next, and never loses its turn to one
that fits better. One that comes back is lifted to the least counter of those that wait (when none does, to that of the
one who stopped waiting last), so that idling earns no credit.

What the paper does not have:

- Two levels. The same is counted for each organisation, and the least organisation's least tenant goes next: tenants of
  one organisation share its turns, so that many of them gain nothing.
- A tenant at its own limit is parked: it does not count as waiting until one of its calls ends, then it is lifted as
  any that comes back.
- A call that can't begin before its deadline is refused (`expected_wait.py`), and of a full queue the longest weighted
  backlog (of organisations, then of tenants in it) loses its last call.
- Leases: a running or waiting call that nobody renews ends. Known to none, it may be counted again only if it is of
  another epoch: then the books have lost it.

Counters are whole numbers; what a division leaves over is carried to the tenant's next charge. Ties go by id.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from tenantry.quota import aimd
from tenantry.quota.aimd import Room
from tenantry.quota.ends import Ends
from tenantry.quota.expected_wait import Measured, Place, expected_wait_us, learn
from tenantry.quota.slot import (
    MOST_COUNTER,
    THOUSAND,
    Answer,
    Call,
    Dropped,
    Gone,
    Granted,
    How,
    Late,
    News,
    Organisation,
    PoolSettings,
    QueueTerms,
    Tenant,
    Ticket,
    TooLarge,
    Waiting,
    size_of,
)


@dataclass(slots=True)
class Queue:
    """A pool's state. `server` is the run of Redis that `epoch` began in. `ends` says when to look at what: k and a
    ticket, t and a tenant, w when a Retry-After ends; x and a ticket is a memory that it was dropped. `news` is what
    happened to waiting calls."""

    terms: QueueTerms
    epoch: str = ""
    server: str = ""
    used: int = 0
    waiting: int = 0
    number: int = 0
    weights: int = 0
    last: int = 0
    last_organisation: str = ""
    room: Room = field(default_factory=Room)
    measured: Measured = field(default_factory=Measured)
    organisations: dict[str, Organisation] = field(default_factory=dict[str, Organisation])
    ready: set[str] = field(default_factory=set[str])
    tenants: dict[str, Tenant] = field(default_factory=dict[str, Tenant])
    tickets: dict[str, Ticket] = field(default_factory=dict[str, Ticket])
    ends: Ends = field(default_factory=Ends)
    news: list[News] = field(default_factory=list[News])

    def acquire(self, now_us: int, call: Call, settings: PoolSettings) -> Answer:
        """Take a place, and with it the capacity if it is the call's turn. The same ticket again is asked about only."""
        self._sweep(now_us, settings, self.terms.batch)
        if call.ticket in self.tickets or "x" + call.ticket in self.ends:
            return self.look(now_us, call.ticket, call.tenant, settings)
        size = size_of(settings, call.input_tokens, call.max_output_tokens)
        if size > settings.capacity:
            return TooLarge()
        self._account(now_us, call)
        self.number += 1
        deadline_us = now_us + call.within_us if call.within_us else 0
        ticket = self.tickets[call.ticket] = Ticket(call, size, self.number, deadline_us)
        if (
            self.waiting == 0
            and self.tenants[call.tenant].running < call.most_running
            and self._fits(now_us, size, settings)
        ):
            self._pass(now_us, ticket, settings)
        else:
            self._enqueue(now_us, ticket, settings)
            self._serve(now_us, settings, own=call.ticket)
        answer = self.look(now_us, call.ticket, call.tenant, settings)
        if isinstance(answer, Waiting):
            if ticket.deadline_us and now_us + answer.wait_us > ticket.deadline_us:
                self._take_out(now_us, call.ticket)
                return Late(answer.wait_us)
            if self.waiting > settings.most_waiting:
                victim = self._longest()
                self._take_out(now_us, victim)
                if victim == call.ticket:
                    return Dropped(answer.wait_us)
                self.ends["x" + victim] = now_us + self.terms.remember_us
                self.news.append(News(victim, False))
        return answer

    def look(self, now_us: int, ticket: str, tenant: str, settings: PoolSettings) -> Answer:
        """Where the call stands. Another tenant's is as unknown as one that never was."""
        found = self._known(ticket, tenant)
        if found is None:
            return Dropped() if "x" + ticket in self.ends else Gone()
        if found.granted_us:
            return Granted(self.epoch, self.ends["k" + ticket])
        mine = self.tenants[tenant]
        place = bisect_left(mine.line, found.in_line) + 1
        return Waiting(place, self._wait_us(now_us, mine, tenant, place, settings))

    def renew(self, now_us: int, ticket: str, tenant: str, output_tokens: int, settings: PoolSettings) -> int:
        """Charge the output since the last time, and move the end of the lease or place: to when; 0 when it is gone."""
        found = self._known(ticket, tenant)
        if found is None:
            return 0
        if found.granted_us:
            self._count(found, max(found.counted, output_tokens), settings)
        self._keep(now_us, found)
        return self.ends["k" + ticket]

    def release(
        self, now_us: int, ticket: str, tenant: str, output_tokens: int, how: How, retry_us: int, settings: PoolSettings
    ) -> bool:
        """The call ended, or does not want its place any more. `output_tokens` is the true figure, below 0 if nobody
        knows it. False if it is gone."""
        found = self._known(ticket, tenant)
        if found is not None:
            if found.granted_us:
                self._count(found, output_tokens if output_tokens >= 0 else found.counted, settings)
                learn(self.measured, now_us - found.granted_us, found.size, found.cost(settings))
                self._adapt(now_us, found, how, retry_us, settings)
            self._end(now_us, ticket, found)
        self._sweep(now_us, settings, self.terms.batch)
        return found is not None

    def attach(
        self, now_us: int, call: Call, output_tokens: int, lease: Granted, settings: PoolSettings
    ) -> Granted | Gone:
        """Go on with a running call. One that these books have lost (it is of another epoch, and has not ended) is
        counted again, whatever room there is."""
        found = self._known(call.ticket, call.tenant)
        if found is None and (lease.epoch == self.epoch or lease.ends_us <= now_us or call.ticket in self.tickets):
            return Gone()
        if found is not None and not found.granted_us:
            return Gone()
        if found is None:
            self._account(now_us, call)
            size = size_of(settings, call.input_tokens, call.max_output_tokens)
            found = self.tickets[call.ticket] = Ticket(call, size, 0, granted_us=now_us, counted=output_tokens)
            self.tenants[call.tenant].running += 1
            self.used += size
            self._place(call.tenant)
        self._keep(now_us, found)
        return Granted(self.epoch, self.ends["k" + call.ticket])

    def fence(self, server: str, fresh: str) -> None:
        """Begin a new epoch when the books are served by another run of Redis than before."""
        if server != self.server:
            self.server, self.epoch = server, fresh

    def sweep(self, now_us: int, settings: PoolSettings, most: int) -> int:
        """Look at up to `most` things whose time has come, then grant what fits; how many there were. A pool of which
        nothing is left is forgotten."""
        swept = self._sweep(now_us, settings, most)
        if not self.tenants:
            self.epoch, self.server, self.number, self.last, self.room, self.measured = "", "", 0, 0, Room(), Measured()
            self.news.clear()
        return swept

    def _sweep(self, now_us: int, settings: PoolSettings, most: int) -> int:
        due = self.ends.due(now_us, most)
        for kind, name in ((member[0], member[1:]) for member in due):
            del self.ends[kind + name]
            if kind == "k":
                self._end(now_us, name, self.tickets[name])
            elif kind == "t":
                self._forget_idle(now_us, name)
        self._serve(now_us, settings)
        return len(due)

    def _pass(self, now_us: int, ticket: Ticket, settings: PoolSettings) -> None:
        """Enter the order, be granted and leave it, in one: nobody waits and there is room."""
        tenant = self.tenants[ticket.call.tenant]
        organisation = self.organisations[tenant.organisation]
        self._lift(tenant, organisation)
        organisation.last_tenant, self.last_organisation = ticket.call.tenant, tenant.organisation
        self._start(now_us, ticket, settings)

    def _enqueue(self, now_us: int, ticket: Ticket, settings: PoolSettings) -> None:
        most = ticket.cost(settings) + ticket.call.max_output_tokens * settings.output_weight
        ticket.backlog = -(-most // ticket.call.weight)
        self._keep(now_us, ticket)
        tenant = self.tenants[ticket.call.tenant]
        insort(tenant.line, ticket.in_line)
        self.waiting += 1
        self._owe(tenant, ticket.backlog)
        self._place(ticket.call.tenant)

    def _serve(self, now_us: int, settings: PoolSettings, own: str = "") -> None:
        """Grant the next calls as long as they fit."""
        for _ in range(self.terms.batch):
            if not self.ready:
                return
            organisation = self.organisations[self._least_organisation()]
            ticket = self.tickets[self.tenants[self._least_tenant(organisation)].line[0][2]]
            if not self._fits(now_us, ticket.size, settings):
                return
            self._grant(now_us, ticket, settings)
            if ticket.call.ticket != own:
                self.news.append(News(ticket.call.ticket, True))

    def _fits(self, now_us: int, size: int, settings: PoolSettings) -> bool:
        """One larger than the room runs when nothing else does."""
        if aimd.held_us(self.room, settings, now_us) > 0:
            return False
        return self.used == 0 or self.used + size <= aimd.room_of(self.room, settings)

    def _grant(self, now_us: int, ticket: Ticket, settings: PoolSettings) -> None:
        tenant = self.tenants[ticket.call.tenant]
        del tenant.line[0]
        self.waiting -= 1
        self._owe(tenant, -ticket.backlog)
        self._start(now_us, ticket, settings)

    def _start(self, now_us: int, ticket: Ticket, settings: PoolSettings) -> None:
        self.tenants[ticket.call.tenant].running += 1
        self.used += ticket.size
        ticket.granted_us = now_us
        self._keep(now_us, ticket)
        self._place(ticket.call.tenant)
        self._charge(ticket, ticket.cost(settings))

    def _end(self, now_us: int, name: str, ticket: Ticket) -> None:
        if not ticket.granted_us:
            self._take_out(now_us, name)
            return
        self.used -= ticket.size
        self.tenants[ticket.call.tenant].running -= 1
        self._drop(now_us, name, ticket.call.tenant)

    def _adapt(self, now_us: int, ticket: Ticket, how: How, retry_us: int, settings: PoolSettings) -> None:
        if settings.adaptive and how is How.THROTTLED:
            aimd.throttled(self.room, settings, now_us, ticket.granted_us, retry_us)
            self.ends["w"] = self.room.held_until_us
        elif settings.adaptive and how is How.OK:
            aimd.answered(self.room, settings, ticket.size)

    def _take_out(self, now_us: int, name: str) -> None:
        """Take a waiting call out of the queue."""
        ticket = self.tickets[name]
        tenant = self.tenants[ticket.call.tenant]
        del tenant.line[bisect_left(tenant.line, ticket.in_line)]
        self.waiting -= 1
        self._owe(tenant, -ticket.backlog)
        self._drop(now_us, name, ticket.call.tenant)

    def _drop(self, now_us: int, name: str, tenant: str) -> None:
        del self.tickets[name]
        self.ends.pop("k" + name, None)
        self.tenants[tenant].seen_us = now_us
        self._place(tenant)

    def _count(self, ticket: Ticket, output_tokens: int, settings: PoolSettings) -> None:
        self._charge(ticket, (output_tokens - ticket.counted) * settings.output_weight)
        ticket.counted = output_tokens

    def _charge(self, ticket: Ticket, amount: int) -> None:
        """Raise the counters of the tenant and its organisation by amount/weight; a correction may lower them."""
        tenant = self.tenants[ticket.call.tenant]
        step, tenant.rest = divmod(amount + tenant.rest, tenant.weight)
        organisation = self.organisations[tenant.organisation]
        tenant.counter = min(max(0, tenant.counter + step), MOST_COUNTER)
        organisation.counter = min(max(0, organisation.counter + step), MOST_COUNTER)

    def _place(self, name: str) -> None:
        """Put the tenant into the order, lifted, when it has calls waiting and may run more; otherwise take it out."""
        tenant = self.tenants[name]
        organisation = self.organisations[tenant.organisation]
        ready = bool(tenant.line) and tenant.running < tenant.most_running
        if ready == (name in organisation.ready):
            return
        self.weights -= organisation.weight
        if ready:
            self._lift(tenant, organisation)
            self.ready.add(tenant.organisation)
            organisation.ready.add(name)
            organisation.weights += tenant.weight
        else:
            organisation.ready.remove(name)
            organisation.weights -= tenant.weight
            organisation.last_tenant = name
            if not organisation.ready:
                self.ready.remove(tenant.organisation)
                self.last_organisation = tenant.organisation
        self.weights += organisation.weight

    def _lift(self, tenant: Tenant, organisation: Organisation) -> None:
        """Before they enter the order: idling earned nothing."""
        tenant.counter = max(tenant.counter, self._least_counter(organisation))
        if not organisation.ready:
            organisation.counter = max(organisation.counter, self._least_organisation_counter())

    def _least_organisation(self) -> str:
        return min(self.ready, key=lambda name: (self.organisations[name].counter, name))

    def _least_tenant(self, organisation: Organisation) -> str:
        return min(organisation.ready, key=lambda name: (self.tenants[name].counter, name))

    def _least_organisation_counter(self) -> int:
        if self.ready:
            return self.organisations[self._least_organisation()].counter
        return self.organisations[self.last_organisation].counter if self.last_organisation else self.last

    def _least_counter(self, organisation: Organisation) -> int:
        if organisation.ready:
            return self.tenants[self._least_tenant(organisation)].counter
        return self.tenants[organisation.last_tenant].counter if organisation.last_tenant else organisation.last

    def _longest(self) -> str:
        """The last call of the longest weighted backlog."""
        _, longest = max((one.backlog, name) for name, one in self.organisations.items())
        _, tenant = max((one.backlog, name) for name, one in self.tenants.items() if one.organisation == longest)
        return self.tenants[tenant].line[-1][2]

    def _wait_us(self, now_us: int, tenant: Tenant, name: str, place: int, settings: PoolSettings) -> int:
        organisation = self.organisations[tenant.organisation]
        parked = name not in organisation.ready
        at = Place(
            place,
            tenant.weight,
            tenant.running,
            tenant.most_running,
            len(organisation.ready) + int(parked),
            self.weights + (tenant.weight * THOUSAND if parked else 0),
            max(0, organisation.counter - self._least_organisation_counter()),
            max(0, tenant.counter - self._least_counter(organisation)),
            self.waiting,
        )
        room, held_us = aimd.room_of(self.room, settings), aimd.held_us(self.room, settings, now_us)
        return expected_wait_us(self.measured, at, room, held_us)

    def _known(self, ticket: str, tenant: str) -> Ticket | None:
        found = self.tickets.get(ticket)
        return found if found is not None and found.call.tenant == tenant else None

    def _keep(self, now_us: int, ticket: Ticket) -> None:
        """Move the end of a lease or of a place; a place also ends with its deadline."""
        end = now_us + self.terms.lease_us
        if not ticket.granted_us and ticket.deadline_us:
            end = min(end, ticket.deadline_us)
        self.ends["k" + ticket.call.ticket] = end

    def _owe(self, tenant: Tenant, amount: int) -> None:
        tenant.backlog += amount
        self.organisations[tenant.organisation].backlog += amount

    def _account(self, now_us: int, call: Call) -> None:
        """The call's tenant and organisation, as the call says they are now."""
        tenant = self.tenants.get(call.tenant)
        if tenant is None:
            self.organisations.setdefault(call.organisation, Organisation()).members += 1
            tenant = self.tenants[call.tenant] = Tenant(call.organisation, call.weight, call.most_running)
            self.ends["t" + call.tenant] = now_us + self.terms.idle_us
        else:
            organisation = self.organisations[tenant.organisation]
            if call.tenant in organisation.ready:
                self.weights -= organisation.weight
                organisation.weights += call.weight - tenant.weight
                self.weights += organisation.weight
            tenant.weight, tenant.most_running = call.weight, call.most_running
        tenant.seen_us = now_us
        self._place(call.tenant)

    def _forget_idle(self, now_us: int, name: str) -> None:
        """Forget a tenant without calls, and its organisation with the last of them; when all are gone, the pool."""
        tenant = self.tenants[name]
        idle_at_us = (now_us if tenant.line or tenant.running else tenant.seen_us) + self.terms.idle_us
        if idle_at_us > now_us:
            self.ends["t" + name] = idle_at_us
            return
        organisation = self.organisations[self.tenants.pop(name).organisation]
        organisation.members -= 1
        if organisation.last_tenant == name:
            organisation.last_tenant, organisation.last = "", tenant.counter
        if organisation.members == 0:
            del self.organisations[tenant.organisation]
            if self.last_organisation == tenant.organisation:
                self.last_organisation, self.last = "", organisation.counter
