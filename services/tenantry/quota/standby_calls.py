"""The limit of all calls where they enter, counted by a replica alone at its share while the shared books are away."""

from collections import OrderedDict
from dataclasses import replace

from tenantry.kit.clock import Clock
from tenantry.kit.owner import Owner
from tenantry.quota.calls import count
from tenantry.quota.entries import CallLimit, Counted
from tenantry.quota.gcra import Bucket
from tenantry.quota.presence import BooksAway, Presence
from tenantry.quota.store import CallCounters

MOST_OWNERS = 10_000


class StandbyCalls:
    """Call counters that go on without `counters` while the books are away. Of more than MOST_OWNERS the one that called
    longest ago is forgotten."""

    def __init__(self, counters: CallCounters, presence: Presence, clock: Clock) -> None:
        self._counters = counters
        self._presence = presence
        self._clock = clock
        self._alone: OrderedDict[Owner, Bucket] = OrderedDict()

    async def count(self, owner: Owner, calls: int, limit: CallLimit, ahead: int = 0) -> Counted:
        try:
            return await self._presence.ask(lambda: self._counters.count(owner, calls, limit, ahead))
        except BooksAway:
            pass
        self._presence.check_time()
        replicas = self._presence.terms.replicas
        shared = replace(
            limit, calls_per_minute=max(1, limit.calls_per_minute // replicas), burst=max(1, limit.burst // replicas)
        )
        now_us = self._clock.now_ns() // 1000
        known = self._alone.get(owner, Bucket(now_us, shared.calls_per_minute))
        self._alone[owner], counted = count(known, now_us, calls, shared)
        self._alone.move_to_end(owner)
        if len(self._alone) > MOST_OWNERS:
            self._alone.popitem(last=False)
        return counted
