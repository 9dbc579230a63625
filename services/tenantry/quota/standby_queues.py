"""Pools of a replica alone, while the shared books are away: its share of each pool's capacity, by the queue's own rules.

Calls that the shared books granted go on: this replica knows nothing of them, so their leases, which are of another epoch, are
counted here, whatever room there is; and by the shared books again when they are back (`vtc.py`: `attach`). Who waits takes a
place here, and takes one there again then.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tenantry.kit.clock import Clock
from tenantry.kit.ids import new_id
from tenantry.kit.owner import Platform, Pool
from tenantry.quota.presence import BooksAway, Presence, closed
from tenantry.quota.slot import Answer, Call, Gone, Granted, How, News, PoolSettings, QueueTerms, Row, Said, Use
from tenantry.quota.store_queue import Progress, Queues
from tenantry.quota.vtc import Queue

T = TypeVar("T")
MOST_POOLS = 10_000


class StandbyQueues:
    """Queues that go on without `queues` while the books are away."""

    def __init__(self, queues: Queues, presence: Presence, clock: Clock, terms: QueueTerms) -> None:
        self._queues = queues
        self._presence = presence
        self._clock = clock
        self._terms = terms
        self._alone: dict[Pool, Queue] = {}

    async def acquire(self, owner: Pool, call: Call, settings: PoolSettings) -> Said[Answer]:
        try:
            return await self._presence.ask(lambda: self._queues.acquire(owner, call, settings))
        except BooksAway:
            self._presence.check_time()
        return self._say(owner, lambda queue, now_us: queue.acquire(now_us, call, self._share(settings)))

    async def release(
        self, owner: Pool, ticket: str, tenant: str, output_tokens: int, how: How, retry_us: int, settings: PoolSettings
    ) -> Said[bool]:
        return await self._either(
            lambda: self._queues.release(owner, ticket, tenant, output_tokens, how, retry_us, settings),
            owner,
            lambda queue, now_us: queue.release(
                now_us, ticket, tenant, output_tokens, how, retry_us, self._share(settings)
            ),
        )

    async def renew(self, owner: Pool, calls: Sequence[Progress], settings: PoolSettings) -> Said[Sequence[int]]:
        def alone(queue: Queue, now_us: int) -> Sequence[int]:
            return [queue.renew(now_us, *call, self._share(settings)) for call in calls]

        return await self._either(lambda: self._queues.renew(owner, calls, settings), owner, alone)

    async def attach(
        self, owner: Pool, call: Call, output_tokens: int, lease: Granted, settings: PoolSettings
    ) -> Said[Granted | Gone]:
        def alone(queue: Queue, now_us: int) -> Granted | Gone:
            return queue.attach(now_us, call, output_tokens, lease, self._share(settings))

        return await self._either(
            lambda: self._queues.attach(owner, call, output_tokens, lease, settings), owner, alone
        )

    async def look(
        self, owner: Pool, calls: Sequence[tuple[str, str]], settings: PoolSettings
    ) -> Said[Sequence[Answer]]:
        def alone(queue: Queue, now_us: int) -> Sequence[Answer]:
            return [queue.look(now_us, *call, self._share(settings)) for call in calls]

        return await self._either(lambda: self._queues.look(owner, calls, settings), owner, alone)

    async def sweep(self, owner: Pool, most: int, settings: PoolSettings) -> Said[int]:
        def alone(queue: Queue, now_us: int) -> int:
            swept = queue.sweep(now_us, self._share(settings), most)
            if not queue.tenants:
                del self._alone[owner]
            return swept

        return await self._either(lambda: self._queues.sweep(owner, most, settings), owner, alone)

    async def watch(self, owner: Pool, tenant: str, settings: PoolSettings) -> tuple[Use, Sequence[Row]]:
        return await self._presence.ask(lambda: self._queues.watch(owner, tenant, settings))

    async def news(self, owner: Pool, after: str) -> tuple[str, Sequence[News]]:
        """Alone there is none: what a call did, its own replica was told."""
        if self._presence.away:
            return after, ()
        return await self._presence.ask(lambda: self._queues.news(owner, after))

    async def remember(self, owner: Pool) -> None:
        if not self._presence.away:
            await self._presence.ask(lambda: self._queues.remember(owner))

    async def pools(self, owner: Platform, after: str, most: int) -> Sequence[Pool]:
        return await self._presence.ask(lambda: self._queues.pools(owner, after, most))

    async def due(self, owner: Platform) -> Sequence[Pool]:
        if self._presence.away:
            return list(self._alone)
        # What was kept alone is counted by the shared books again.
        self._alone.clear()
        return await self._presence.ask(lambda: self._queues.due(owner))

    async def _either(
        self, shared: Callable[[], Awaitable[Said[T]]], owner: Pool, alone: Callable[[Queue, int], T]
    ) -> Said[T]:
        try:
            return await self._presence.ask(shared)
        except BooksAway:
            return self._say(owner, alone)

    def _say(self, owner: Pool, do: Callable[[Queue, int], T]) -> Said[T]:
        queue = self._alone.get(owner)
        if queue is None:
            if len(self._alone) >= MOST_POOLS:
                raise closed("too many pools are in use while the books are away")
            queue = self._alone[owner] = Queue(self._terms, epoch=new_id("alone"))
        now_us = self._clock.now_ns() // 1000
        answer = do(queue, now_us)
        news, queue.news = tuple(queue.news), []
        return Said(answer, news, now_us, Granted(queue.epoch, now_us + self._terms.lease_us))

    def _share(self, settings: PoolSettings) -> PoolSettings:
        return replace(settings, capacity=max(1, settings.capacity // self._presence.terms.replicas))
