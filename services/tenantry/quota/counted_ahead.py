"""Calls that the books counted before they were made, so that most calls enter without a trip to the books.

An owner who called lately will call again: a trip counts as many more as he makes in a tenth of a second, and those are given
here. What nobody made in that time stays counted.

The promise of the limit holds exactly, at whichever replicas: calls that enter in a time t were counted in it, or no more than
that life before, so there are at most burst + rate·(t + life). **The books are told a burst that is less by rate·life**, which
leaves burst + rate·t.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from math import ceil

from tenantry.kit.clock import Clock
from tenantry.kit.owner import Owner
from tenantry.quota.entries import CallLimit, Counted
from tenantry.quota.store import CallCounters

LONGEST_LIFE_S = 0.1
_MOST_OF_BURST = 10  # a tenth, where a burst is small beside its rate
# Of more owners, the one that called longest ago is forgotten, and with him what was counted ahead.
MOST_OWNERS = 10_000


def spare(limit: CallLimit) -> int:
    """By how much the books' burst is less: what the rate brings in a life."""
    return min(int(limit.calls_per_minute * LONGEST_LIFE_S / 60), limit.burst // _MOST_OF_BURST)


def told(limit: CallLimit) -> CallLimit:
    """The limit as the books are told it: what they admit in one moment."""
    return replace(limit, burst=limit.burst - spare(limit))


@dataclass(slots=True)
class Ahead:
    """An owner's calls since the books were asked, at `asked_at` (monotonic seconds): how many were `made`, and how many are
    `left` of those counted ahead, for `life_s` since then."""

    limit: CallLimit
    asked_at: float
    life_s: float
    made: int = 0
    left: int = 0
    asking: bool = False

    def take(self, calls: int, now: float) -> bool:
        """Give so many, if they are there."""
        if calls > self.left or now - self.asked_at > self.life_s:
            return False
        self.left -= calls
        self.made += calls
        return True

    def wanted(self, now: float) -> int:
        """How many will be made in a life if he goes on as he did, and at most twice as many as he has made."""
        age_s = max(now - self.asked_at, 1e-6)
        return min(2 * self.made, ceil(self.made * self.life_s / age_s)) if age_s <= 2 * self.life_s else 0


class CountedAhead:
    """Counts calls in `counters`, and some ahead."""

    def __init__(self, counters: CallCounters, clock: Clock) -> None:
        self._counters = counters
        self._clock = clock
        self._owners: OrderedDict[Owner, Ahead] = OrderedDict()

    async def count(self, owner: Owner, calls: int, limit: CallLimit) -> int:
        """0 if the calls may enter, else microseconds to wait."""
        now = self._clock.monotonic()
        known = self._known(owner, limit, now)
        if known.take(calls, now):
            return 0
        counted = await self._ask(owner, calls, known, now)
        if not counted.wait_us:
            known.made += calls
        return counted.wait_us

    def _known(self, owner: Owner, limit: CallLimit, now: float) -> Ahead:
        known = self._owners.get(owner)
        if known is None or known.limit != limit:
            known = self._owners[owner] = Ahead(limit, now, spare(limit) * 60 / limit.calls_per_minute)
            if len(self._owners) > MOST_OWNERS:
                self._owners.popitem(last=False)
        self._owners.move_to_end(owner)
        return known

    async def _ask(self, owner: Owner, calls: int, known: Ahead, now: float) -> Counted:
        limit = told(known.limit)
        if known.asking:  # one asks ahead, and those that come meanwhile each for itself
            return await self._counters.count(owner, calls, limit)
        known.asking = True
        try:
            counted = await self._counters.count(owner, calls, limit, known.wanted(now))
        finally:
            known.asking = False
        known.asked_at, known.made, known.left = now, 0, counted.ahead
        return counted
