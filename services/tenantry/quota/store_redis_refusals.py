"""Who was refused how often, in the books."""

from collections.abc import Mapping, Sequence

from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.redis import Redis, Script
from tenantry.quota import keys

_ADD = Script.load("tenantry.quota.scripts", "refusals")
_TENANTS_AT_ONCE = 500


class RedisRefusals:
    """`Refusals` on one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, owner: Platform, refused: Mapping[str, int]) -> None:
        counts = list(refused.items())
        for first in range(0, len(counts), _TENANTS_AT_ONCE):
            some = counts[first : first + _TENANTS_AT_ONCE]
            await self._redis.run(_ADD, keys.refusals_keys(), [part for count in some for part in count])

    async def of(self, owner: Tenant) -> int:
        found = await self._redis.pipeline([("ZSCORE", key, owner.id) for key in keys.refusals_keys()])
        return sum(int(count or 0) for count in found)

    async def most(self, owner: Platform, most: int) -> Sequence[tuple[str, int]]:
        ring = keys.refusals_keys()
        leading = await self._redis.pipeline([("ZREVRANGE", key, 0, most - 1) for key in ring])
        names = sorted({name for found in leading for name in found})
        if not names:
            return ()
        counts = await self._redis.pipeline([("ZMSCORE", key, *names) for key in ring])
        sums = [sum(int(count or 0) for count in of_one) for of_one in zip(*counts, strict=True)]
        refused = ((name.decode(), count) for name, count in zip(names, sums, strict=True) if count)
        return sorted(refused, key=lambda one: -one[1])[:most]
