"""One bucket of the books in Python: the rules of the Lua scripts, line by line, and their executable specification.

Every method takes the time and answers what its script answers; a test drives both and compares. The life of a
reservation:

    held ── committed                      a true settlement, in the outbox
     ├───── released                       unused: it cost nothing
     ├───── lapsed ────── committed        never renewed until its end: it cost nothing, unless it is settled after all
     └───── estimated ─── committed        renewed, then not any more: settled with all it held, at its last renewal

A hold ends when it is looked at after its time: by the timer, or by a later reservation in the bucket; until then it
may still be renewed or settled. How a reservation ended is remembered for `remember_us`, and so is a nonce. A commit
after that enters the outbox once more, and the ledger, whose key is the reservation, knows it.

A hold is made of pieces. The first is what its reservation took; another is taken by a renewal whose answer has nearly
reached what is held, and all limits are asked for it as for a new request. What a settlement gives back comes from the
newest piece first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import reduce

from tenantry.quota import counters as rules
from tenantry.quota import expected_output
from tenantry.quota.counters import Counters
from tenantry.quota.ends import Ends
from tenantry.quota.entries import Amounts, Ask, Demand, Full, Held, OutboxFull, Refused, Renewed, Subject, Used, Warned
from tenantry.quota.expected_output import Outputs

# Counters of end users whom no limit names, an owner of limits. Beyond, newcomers share one.
MOST_IN_CROWD = 10_000
# A renewal takes more when three quarters of the held output are written: half of that again, and not less than this.
_LEAST_MORE = 64


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a hold lasts without renewal, how long ends and nonces are remembered, how often
    counters that say nothing (no holds, full buckets) are forgotten, how many ended things a call looks at, how many entries
    an outbox may have before new holds are refused, how many counters a crowd may have, and how often half of what is known
    of the lengths of answers is forgotten."""

    hold_us: int = 60_000_000
    remember_us: int = 120_000_000
    idle_us: int = 600_000_000
    sweep_most: int = 16
    outbox_most: int = 10_000
    crowd_most: int = MOST_IN_CROWD
    outputs_us: int = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Piece:
    """What was taken at once, and under which number of which counters."""

    amounts: Amounts
    charged: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """A running hold; `renewed_us` is 0 until the first renewal."""

    ask: Ask
    pieces: tuple[Piece, ...]
    reserved_us: int
    renewed_us: int = 0

    @property
    def amounts(self) -> Amounts:
        """All that it holds."""
        return _sum(piece.amounts for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Appended:
    """An entry of the outbox: a settlement as it was handed in, or, with `reserved_us`, the ask of a hold that is
    estimated, with the output and the cost that it held."""

    entry: object
    at_us: int
    reserved_us: int = 0
    output_tokens: int = 0
    cost_micros: int = 0


@dataclass(slots=True)
class Holds:
    """A bucket's state; keys.py says what names it. `ended` are holds that lapsed or were estimated, while that is
    remembered; `crowds` how many counters each crowd has. `ends` says when to look at what: h and a reservation, n and a
    nonce, t and a counters field, o and a field of outputs; c, r, l or e and a reservation is a memory of how it ended."""

    terms: Terms
    counters: dict[str, Counters] = field(default_factory=dict[str, Counters])
    holds: dict[str, Hold] = field(default_factory=dict[str, Hold])
    nonces: dict[str, Held] = field(default_factory=dict[str, Held])
    ends: Ends = field(default_factory=Ends)
    outbox: list[Appended] = field(default_factory=list[Appended])
    ended: dict[str, Hold] = field(default_factory=dict[str, Hold])
    outputs: dict[str, Outputs] = field(default_factory=dict[str, Outputs])
    crowds: dict[str, int] = field(default_factory=dict[str, int])

    def reserve(self, now_us: int, nonce: str, outputs: str, ask: Ask, demand: Demand) -> Held | Refused | OutboxFull:
        """Check and take all limits, all or none. `outputs` names the histogram of the tenant's answers of this model."""
        self.sweep(now_us, self.terms.sweep_most)
        known = self.nonces.get(nonce)
        if known is not None:
            return replace(known, ends_us=self.ends.get("h" + known.ask.reservation, known.ends_us))
        if len(self.outbox) >= self.terms.outbox_most:
            return OutboxFull()
        output = expected_output.expected(self.outputs.get(outputs), ask.max_output_tokens)
        amounts = _amounts(1, ask.input_tokens, output, ask)
        taken = self._take(now_us, amounts, demand)
        if isinstance(taken, Refused):
            return taken
        piece, warnings = taken
        self.holds[ask.reservation] = Hold(ask, (piece,), now_us)
        held = Held(ask, now_us, now_us + self.terms.hold_us, output)
        self.nonces[nonce] = held
        self.ends["h" + ask.reservation] = held.ends_us
        self.ends["n" + nonce] = now_us + self.terms.remember_us
        return replace(held, warnings=warnings)

    def renew(self, now_us: int, reservation: str, output: int, demand: Demand | None) -> Renewed | Refused | None:
        """Move the end of the hold, and hold more when the `output` so far wants it; None when there is no such hold.
        Refused when the output is more than what is held and the limits allow no more; the end is moved all the same."""
        hold = self.holds.get(reservation)
        if hold is None:
            return None
        hold = replace(hold, renewed_us=now_us)
        ends_us = now_us + self.terms.hold_us
        self.ends["h" + reservation] = ends_us
        held = hold.amounts.output
        more = _more(held, output, hold.ask.max_output_tokens) if demand else 0
        taken = None
        if demand and more:
            taken = self._take(now_us, _amounts(0, 0, more, hold.ask), demand)
            if isinstance(taken, tuple):
                hold = replace(hold, pieces=(*hold.pieces, taken[0]))
        self.holds[reservation] = hold
        if isinstance(taken, Refused) and output > held:
            return taken
        return Renewed(ends_us, hold.amounts.output, taken[1] if isinstance(taken, tuple) else ())

    def commit(self, now_us: int, reservation: str, outputs: str, used: Amounts, entry: object) -> bool:
        """Whether this call settled it. `outputs` is "" for an answer that says nothing of how long answers are."""
        hold = self.holds.get(reservation)
        if hold is not None:
            self._settle(now_us, reservation, hold, used, "c")
        else:
            if "c" + reservation in self.ends or "r" + reservation in self.ends:
                return False
            lapsed, estimated = (self.ends.pop(how + reservation, None) is not None for how in "le")
            ended = self.ended.pop(reservation, None)
            if ended is not None and (lapsed or estimated):
                self._owe(now_us, ended, used if lapsed else _above(used, ended.amounts))
            self._remember(now_us, reservation, "c")
        if outputs:
            self.ends.setdefault("o" + outputs, now_us + self.terms.outputs_us)
            self.outputs[outputs] = expected_output.add(self.outputs.get(outputs, Outputs()), used.output)
        self.outbox.append(Appended(entry, now_us))
        return True

    def release(self, now_us: int, reservation: str) -> bool:
        """Whether this call released it."""
        hold = self.holds.get(reservation)
        if hold is None:
            return False
        self._settle(now_us, reservation, hold, Amounts(), "r")
        return True

    def use(self, now_us: int, demand: Demand) -> tuple[tuple[Used, ...], ...]:
        """What each subject's limits have given. What has ended and was not looked at yet still counts."""
        return tuple(self._used(now_us, subject, demand) for subject in demand.subjects)

    def forget(self, now_us: int, field: str) -> int:
        """Forget all that is counted for the tenant whose own counters are `field`, and let its holds lapse; how many there
        were. Fields are length-prefixed, so that the tenant's, and no other's, begin with it."""
        mine = [item for item in self.holds.items() if item[1].pieces[0].charged[0][0] == field]
        for reservation, hold in mine:
            self._settle(now_us, reservation, hold, Amounts(), "l")
        for name in [name for name in self.counters if name.startswith(field)]:
            self._drop(name)
        for name in [name for name in self.outputs if name.startswith(field)]:
            del self.outputs[name]
            self.ends.pop("o" + name, None)
        return len(mine)

    def sweep(self, now_us: int, most: int) -> int:
        """Look at up to `most` things whose time has come, in the order of their ends; how many there were."""
        due = self.ends.due(now_us, most)
        for member in due:
            del self.ends[member]
            kind, name = member[0], member[1:]
            if kind == "h":
                self._end(now_us, name, self.holds[name])
            elif kind == "n":
                del self.nonces[name]
            elif kind == "t":
                self._forget_idle(now_us, name, member)
            elif kind == "o":
                self._forget_outputs(now_us, name, member)
            else:
                self.ended.pop(name, None)
        return len(due)

    def _take(self, now_us: int, amounts: Amounts, demand: Demand) -> tuple[Piece, tuple[Warned, ...]] | Refused:
        """Check all limits and take them, all or none; and what to warn of."""
        found = [self._find(now_us, subject, demand) for subject in demand.subjects]
        waits = [
            rules.waits(counters, now_us, amounts, subject.limits)
            for subject, (_, counters) in zip(demand.subjects, found, strict=True)
        ]
        full = tuple(Full(place, *one) for place, some in enumerate(waits) for one in some)
        warnings: list[Warned] = []
        charged: list[tuple[str, int]] = []
        for place, (subject, (name, counters)) in enumerate(zip(demand.subjects, found, strict=True)):
            measures = [measure for measure, _, wait_us in waits[place] if wait_us >= 0]
            counted = counters if full else rules.take(counters, amounts)
            warned, said = rules.warn(counted, now_us, subject.limits, measures)
            warnings += [Warned(place, *one) for one in said]
            if not full or said:
                self._save(now_us, name, warned)
            charged.append((name, warned.number))
        return Refused(full, tuple(warnings)) if full else (Piece(amounts, tuple(charged)), tuple(warnings))

    def _find(self, now_us: int, subject: Subject, demand: Demand) -> tuple[str, Counters]:
        """The subject's counters under its limits and their field: those of the others when its crowd is full."""
        name, crowd = subject.field, subject.crowd
        known = self.counters.get(name)
        if known is None and crowd and self.crowds.get(crowd, 0) >= self.terms.crowd_most:
            name, crowd = subject.others, ""
            known = self.counters.get(name)
        calendar = demand.local if subject.local else demand.utc
        return name, rules.at(known, now_us, subject.limits, calendar, crowd)

    def _used(self, now_us: int, subject: Subject, demand: Demand) -> tuple[Used, ...]:
        _, counters = self._find(now_us, subject, demand)
        warned = rules.warned_percent(counters, now_us)
        rates = (
            Used(name, rules.used(rate), -(-rate.bucket.level // rate.bucket.rate), warned[place])
            for place, (name, rate) in enumerate(zip(rules.RATES, counters.rates, strict=True))
            if rate
        )
        budgets = (
            Used(name, budget.used, max(0, budget.end_us - now_us), warned[len(rules.RATES) + place])
            for place, (name, budget) in enumerate(zip(rules.BUDGETS, counters.budgets, strict=True))
            if budget
        )
        return (*rates, *budgets, Used(rules.CONCURRENT, counters.running, 0, 0))

    def _end(self, now_us: int, reservation: str, hold: Hold) -> None:
        if hold.renewed_us:
            amounts = hold.amounts
            self._settle(now_us, reservation, hold, amounts, "e")
            self.outbox.append(Appended(hold.ask, hold.renewed_us, hold.reserved_us, amounts.output, amounts.cost))
        else:
            self._settle(now_us, reservation, hold, Amounts(), "l")
        self.ended[reservation] = hold

    def _forget_idle(self, now_us: int, field: str, member: str) -> None:
        counters = self.counters.get(field)
        if counters is None:
            return
        if rules.says_nothing(rules.as_known(counters, now_us), now_us):
            self._drop(field)
        else:
            self.ends[member] = now_us + self.terms.idle_us

    def _forget_outputs(self, now_us: int, field: str, member: str) -> None:
        outputs = expected_output.halved(self.outputs.pop(field))
        if outputs.samples:
            self.outputs[field] = outputs
            self.ends[member] = now_us + self.terms.outputs_us

    def _settle(self, now_us: int, reservation: str, hold: Hold, used: Amounts, how: str) -> None:
        """End a hold that used this much of what it held."""
        left = _above(hold.amounts, used)
        for piece in reversed(hold.pieces):
            back = _each(left, piece.amounts, min)
            left = _above(left, back)
            for name, number in piece.charged:
                counters = self.counters.get(name)
                if counters is not None:
                    counters = rules.give_back(rules.as_known(counters, now_us), number, back)
                    running = max(0, counters.running - piece.amounts.requests)
                    self.counters[name] = replace(counters, running=running)
        self._owe(now_us, hold, _above(used, hold.amounts))
        del self.holds[reservation]
        self.ends.pop("h" + reservation, None)
        self._remember(now_us, reservation, how)

    def _owe(self, now_us: int, hold: Hold, amounts: Amounts) -> None:
        """Charge what was settled above the hold to all whose counters it is in."""
        if amounts == Amounts():
            return
        for name, _ in hold.pieces[0].charged:
            counters = self.counters.get(name)
            if counters is not None:
                self.counters[name] = rules.owe(rules.as_known(counters, now_us), now_us, amounts)

    def _save(self, now_us: int, field: str, counters: Counters) -> None:
        if field not in self.counters:
            self.ends["t" + field] = now_us + self.terms.idle_us
            if counters.crowd:
                self.crowds[counters.crowd] = self.crowds.get(counters.crowd, 0) + 1
        self.counters[field] = counters

    def _drop(self, field: str) -> None:
        crowd = self.counters.pop(field).crowd
        if crowd:
            self.crowds[crowd] -= 1
            if self.crowds[crowd] == 0:
                del self.crowds[crowd]
        self.ends.pop("t" + field, None)

    def _remember(self, now_us: int, reservation: str, how: str) -> None:
        self.ends[how + reservation] = now_us + self.terms.remember_us


def cost_micros(input_tokens: int, output_tokens: int, input_price: int, output_price: int) -> int:
    """The cost in millionths of a dollar, rounded up; prices are for a million tokens."""
    return -(-(input_tokens * input_price + output_tokens * output_price) // 1_000_000)


def _amounts(requests: int, input_tokens: int, output_tokens: int, ask: Ask) -> Amounts:
    cost = cost_micros(input_tokens, output_tokens, ask.input_price, ask.output_price)
    return Amounts(requests, input_tokens + output_tokens, input_tokens, output_tokens, cost)


def _more(held: int, output: int, most: int) -> int:
    """How much output to hold beside what is held, when so much was written. Above `most` only what was written counts."""
    if output * 4 < held * 3:
        return 0
    return max(0, max(output, min(most, output + max(_LEAST_MORE, output // 2))) - held)


def _each(one: Amounts, other: Amounts, of: Callable[[int, int], int]) -> Amounts:
    return Amounts(
        of(one.requests, other.requests),
        of(one.tokens, other.tokens),
        of(one.input, other.input),
        of(one.output, other.output),
        of(one.cost, other.cost),
    )


def _above(one: Amounts, other: Amounts) -> Amounts:
    return _each(one, other, lambda a, b: max(0, a - b))


def _sum(amounts: Iterable[Amounts]) -> Amounts:
    return reduce(lambda one, other: _each(one, other, int.__add__), amounts, Amounts())
