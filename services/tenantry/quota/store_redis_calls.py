"""The counters of calls in the books: a key an owner, which ends by itself once it has leaked."""

from tenantry.kit.owner import Owner
from tenantry.kit.redis import Redis, Script
from tenantry.quota import keys
from tenantry.quota.entries import CallLimit, Counted

COUNT = Script.load("tenantry.quota.scripts", "calls")


class RedisCallCounters:
    """`CallCounters` on one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def count(self, owner: Owner, calls: int, limit: CallLimit, ahead: int = 0) -> Counted:
        args = (calls, limit.calls_per_minute, limit.burst, ahead)
        _now_us, *counted = await self._redis.run(COUNT, [keys.calls_key(owner)], args)
        return Counted(*counted)
