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
"""

from dataclasses import dataclass, field, replace

from tenantry.quota import gcra
from tenantry.quota.entries import Ask, Held, Limits, OutboxFull, Refused, Use


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a hold lasts without renewal, how long ends and nonces are remembered, after how long without a
    reservation counters that say nothing (no holds, full buckets) are forgotten, how many ended things a call looks
    at, and how many entries an outbox may have before new holds are refused."""

    hold_us: int = 60_000_000
    remember_us: int = 120_000_000
    idle_us: int = 600_000_000
    sweep_most: int = 16
    outbox_most: int = 10_000


@dataclass(frozen=True, slots=True)
class Counters:
    """What is counted for one limit's owner."""

    number: int
    running: int
    requests: gcra.Bucket
    tokens: gcra.Bucket


@dataclass(frozen=True, slots=True)
class Hold:
    """A running hold; `renewed_us` is 0 until the first renewal."""

    field: str
    number: int
    ask: Ask
    reserved_us: int
    renewed_us: int = 0


@dataclass(frozen=True, slots=True)
class Appended:
    """An entry of the outbox: a settlement as it was handed in, or, with `reserved_us`, the ask of a hold that is
    estimated."""

    entry: object
    at_us: int
    reserved_us: int = 0


@dataclass(slots=True)
class Holds:
    """A bucket's state. `field` names a limit's owner, `nonce` an owner and its nonce (keys.py). `ends` says when to
    look at what: h and a reservation, n and a nonce, t and a counters field; c, r, l or e and a reservation is a
    memory of how it ended."""

    terms: Terms
    counters: dict[str, Counters] = field(default_factory=dict[str, Counters])
    holds: dict[str, Hold] = field(default_factory=dict[str, Hold])
    nonces: dict[str, Held] = field(default_factory=dict[str, Held])
    ends: dict[str, int] = field(default_factory=dict[str, int])
    outbox: list[Appended] = field(default_factory=list[Appended])

    def reserve(self, now_us: int, field: str, nonce: str, ask: Ask, limits: Limits) -> Held | Refused | OutboxFull:
        """Check and take all limits, all or none."""
        self.sweep(now_us, self.terms.sweep_most)
        known = self.nonces.get(nonce)
        if known is not None:
            return replace(known, ends_us=self.ends.get("h" + known.ask.reservation, known.ends_us))
        if len(self.outbox) >= self.terms.outbox_most:
            return OutboxFull()
        counters = self._leaked(now_us, field, limits)
        refused = Refused(
            gcra.wait_us(counters.requests, 1, limits.request_burst),
            gcra.wait_us(counters.tokens, ask.tokens, limits.token_burst),
            counters.running >= limits.concurrent_requests,
        )
        if refused != Refused(0, 0, False):
            return refused
        number = counters.number + 1
        self.counters[field] = Counters(
            number,
            counters.running + 1,
            gcra.take(counters.requests, number, 1),
            gcra.take(counters.tokens, number, ask.tokens),
        )
        self.holds[ask.reservation] = Hold(field, number, ask, now_us)
        self.nonces[nonce] = Held(ask, now_us, now_us + self.terms.hold_us)
        self.ends["h" + ask.reservation] = now_us + self.terms.hold_us
        self.ends["n" + nonce] = now_us + self.terms.remember_us
        self.ends["t" + field] = now_us + self.terms.idle_us
        return self.nonces[nonce]

    def renew(self, now_us: int, reservation: str) -> int:
        """When the hold ends now; 0 when there is none."""
        hold = self.holds.get(reservation)
        if hold is None:
            return 0
        self.holds[reservation] = replace(hold, renewed_us=now_us)
        self.ends["h" + reservation] = now_us + self.terms.hold_us
        return now_us + self.terms.hold_us

    def commit(self, now_us: int, field: str, reservation: str, held: int, used: int, entry: object) -> bool:
        """Whether this call settled it. `held` is what the receipt says, for a hold that is gone."""
        hold = self.holds.get(reservation)
        if hold is not None:
            self._settle(now_us, reservation, hold, 1, used, "c")
        else:
            if "c" + reservation in self.ends or "r" + reservation in self.ends:
                return False
            lapsed, estimated = (self.ends.pop(how + reservation, None) is not None for how in "le")
            if lapsed or estimated:
                self._owe(now_us, field, requests=int(lapsed), tokens=used - (held if estimated else 0))
            self._remember(now_us, reservation, "c")
        self.outbox.append(Appended(entry, now_us))
        return True

    def release(self, now_us: int, reservation: str) -> bool:
        """Whether this call released it."""
        hold = self.holds.get(reservation)
        if hold is None:
            return False
        self._settle(now_us, reservation, hold, 0, 0, "r")
        return True

    def use(self, now_us: int, field: str, limits: Limits) -> Use:
        """How much is free. What has ended and was not looked at yet still counts."""
        counters = self._leaked(now_us, field, limits)
        return Use(
            gcra.available(counters.requests, limits.request_burst),
            gcra.available(counters.tokens, limits.token_burst),
            counters.running,
        )

    def forget(self, now_us: int, field: str) -> int:
        """Forget the counters and let their holds lapse; how many there were."""
        mine = [(reservation, hold) for reservation, hold in self.holds.items() if hold.field == field]
        for reservation, hold in mine:
            self._settle(now_us, reservation, hold, 0, 0, "l")
        self.counters.pop(field, None)
        self.ends.pop("t" + field, None)
        return len(mine)

    def sweep(self, now_us: int, most: int) -> int:
        """Look at up to `most` things whose time has come, in the order of their ends; how many there were."""
        due = sorted((end, member) for member, end in self.ends.items() if end <= now_us)[:most]
        for _, member in due:
            del self.ends[member]
            kind, name = member[0], member[1:]
            if kind == "h":
                self._end(now_us, name, self.holds[name])
            elif kind == "n":
                del self.nonces[name]
            elif kind == "t":
                self._forget_idle(now_us, name, member)
        return len(due)

    def _end(self, now_us: int, reservation: str, hold: Hold) -> None:
        if hold.renewed_us:
            self._settle(now_us, reservation, hold, 1, hold.ask.tokens, "e")
            self.outbox.append(Appended(hold.ask, hold.renewed_us, hold.reserved_us))
        else:
            self._settle(now_us, reservation, hold, 0, 0, "l")

    def _forget_idle(self, now_us: int, field: str, member: str) -> None:
        counters = self._current(now_us, field)
        if counters is None:
            return
        if counters.running == 0 and not counters.requests.charges and not counters.tokens.charges:
            del self.counters[field]
        else:
            self.ends[member] = now_us + self.terms.idle_us

    def _settle(self, now_us: int, reservation: str, hold: Hold, requests: int, tokens: int, how: str) -> None:
        """End a hold that used this much of what it held."""
        counters = self._current(now_us, hold.field)
        if counters is not None:
            back = gcra.give_back(counters.requests, hold.number, 1 - requests)
            tokens_back = gcra.give_back(counters.tokens, hold.number, max(0, hold.ask.tokens - tokens))
            self.counters[hold.field] = Counters(
                counters.number,
                max(0, counters.running - 1),
                gcra.close(back, hold.number),
                gcra.close(tokens_back, hold.number),
            )
            if tokens > hold.ask.tokens:
                self._owe(now_us, hold.field, requests=0, tokens=tokens - hold.ask.tokens)
        del self.holds[reservation]
        self.ends.pop("h" + reservation, None)
        self._remember(now_us, reservation, how)

    def _owe(self, now_us: int, field: str, *, requests: int, tokens: int) -> None:
        counters = self._current(now_us, field)
        if counters is None:
            return
        number = counters.number + 1
        self.counters[field] = replace(
            counters,
            number=number,
            requests=gcra.owe(counters.requests, number, requests),
            tokens=gcra.owe(counters.tokens, number, max(0, tokens)),
        )

    def _remember(self, now_us: int, reservation: str, how: str) -> None:
        self.ends[how + reservation] = now_us + self.terms.remember_us

    def _leaked(self, now_us: int, field: str, limits: Limits) -> Counters:
        """Counters as they are now, leaking at the rates of `limits` from now on; new ones are full."""
        request_rate, token_rate = limits.requests_per_minute, limits.tokens_per_minute
        counters = self.counters.get(field)
        if counters is None:
            return Counters(0, 0, gcra.Bucket(now_us, request_rate), gcra.Bucket(now_us, token_rate))
        return replace(
            counters,
            requests=gcra.leak(counters.requests, now_us, request_rate),
            tokens=gcra.leak(counters.tokens, now_us, token_rate),
        )

    def _current(self, now_us: int, field: str) -> Counters | None:
        """Counters as they are now, each bucket leaking at the rate it is known by."""
        counters = self.counters.get(field)
        if counters is None:
            return None
        return replace(
            counters,
            requests=gcra.leak(counters.requests, now_us, counters.requests.rate),
            tokens=gcra.leak(counters.tokens, now_us, counters.tokens.rate),
        )
