"""A pool's calls at one replica, when there are many of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from tenantry.kit.clock import SystemClock
from tenantry.kit.owner import Pool
from tenantry.kit.redis import Redis, connect
from tenantry.quota import keys
from tenantry.quota.slot import Answer, Call, PoolSettings, QueueTerms, Said, Waiting
from tenantry.quota.slot_room import MOST_LOOKS, Slot, SlotRoom
from tenantry.quota.store_redis_queue import RedisQueues
from tests.harness.poll import until

TERMS = QueueTerms()
POOL = Pool("a herd's")
AT_ONCE = 64


class Noting(RedisQueues):
    """Queues that note how many calls asked for a place at once, and who was looked at how often."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, TERMS)
        self.asking = self.most_asking = 0
        self.looks: list[int] = []
        self.looked_at: Counter[str] = Counter()

    async def acquire(self, owner: Pool, call: Call, settings: PoolSettings) -> Said[Answer]:
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        try:
            return await super().acquire(owner, call, settings)
        finally:
            self.asking -= 1

    async def look(
        self, owner: Pool, calls: Sequence[tuple[str, str]], settings: PoolSettings
    ) -> Said[Sequence[Answer]]:
        self.looked_at.update(ticket for ticket, _ in calls)
        return await super().look(owner, calls, settings)

    async def sweep(self, owner: Pool, most: int, settings: PoolSettings) -> Said[int]:
        self.looks.append(self.looked_at.total())  # a sweep begins each round of looks
        return await super().sweep(owner, most, settings)


class Herd:
    """A room whose pool has one seat, and calls that came in one instant."""

    def __init__(self, redis: Redis) -> None:
        self.queues = Noting(redis)
        self.room = SlotRoom(
            POOL, self.queues, self._settings, SystemClock(), TERMS, lambda pool: None, lambda tenant: None
        )
        self.slots: list[Slot] = []

    async def _settings(self, pool: Pool) -> PoolSettings:
        return PoolSettings(capacity=1)

    async def comes(self, size: int) -> None:
        self.slots = [Slot(Call(f"slot_{number}", "org", "acme", 1, 10, 0, 1, 1), self.room) for number in range(size)]
        await asyncio.gather(*(self.room.enter(slot) for slot in self.slots))


@pytest.fixture
async def herd(books_url: str) -> AsyncIterator[Herd]:
    redis = connect(books_url, store="books")
    made = Herd(redis)
    yield made
    await made.room.close()
    await redis.execute("DEL", *keys.queue_keys(POOL))
    await redis.close()


async def test_of_a_herd_some_ask_the_books_at_once_and_all_are_answered(herd: Herd) -> None:
    await herd.comes(4 * AT_ONCE)
    assert herd.queues.most_asking == AT_ONCE
    assert sum(isinstance(slot.state, Waiting) for slot in herd.slots) == 4 * AT_ONCE - 1


async def test_of_a_long_queue_a_part_is_looked_at_each_time_and_everyone_in_turn(herd: Herd) -> None:
    await herd.comes(MOST_LOOKS + 200)
    waiting = {slot.call.ticket for slot in herd.slots if isinstance(slot.state, Waiting)}

    async def all_were_looked_at() -> bool:
        return waiting <= herd.queues.looked_at.keys()

    await until(all_were_looked_at, within_s=20, what="a look at everyone")
    rounds = [after - before for before, after in zip(herd.queues.looks, herd.queues.looks[1:], strict=False)]
    assert max(rounds, default=0) <= MOST_LOOKS
