"""The books in Redis: one script call for each method. `holds.py` says what the scripts do."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.redis import Arg, Redis, Script
from tenantry.quota import keys
from tenantry.quota.codec import read_ask, write_ask, write_settled
from tenantry.quota.entries import Ask, Held, Limits, OutboxFull, Refused, Settled, Use
from tenantry.quota.holds import Terms

_HOLDS_A_PAGE = 200
_SWEPT_AT_ONCE = 200


def _script(name: str, flags: str) -> Script:
    """A script with the rules before it. Its flags are for Redis: whether it writes, and may when memory is full."""
    folder = resources.files("tenantry.quota").joinpath("scripts")
    rules, own = (folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("rules", name))
    return Script(name, f"#!lua{f' flags={flags}' if flags else ''}\n{rules}\n{own}")


RESERVE = _script("reserve", "")
# Settling frees memory in the end, and what was used must not be lost: these run even when memory is full.
RENEW, COMMIT, RELEASE, SWEEP, FORGET = (
    _script(name, "allow-oom") for name in ("renew", "commit", "release", "sweep", "forget")
)
USAGE = _script("usage", "no-writes")


class RedisBooks:
    """Books on one Redis. `grown` collects the buckets whose outbox this replica's calls have made longer."""

    def __init__(self, redis: Redis, terms: Terms) -> None:
        self._redis = redis
        self._terms = (terms.hold_us, terms.remember_us, terms.idle_us, terms.sweep_most, terms.outbox_most)
        self.grown: set[int] = set()

    async def reserve(self, owner: Tenant, ask: Ask, limits: Limits) -> Held | Refused | OutboxFull:
        names = (keys.counters_field(owner), keys.nonce_field(owner, ask.nonce), ask.reservation, write_ask(ask))
        rates = (*_rates(limits), limits.concurrent_requests)
        match await self._run(RESERVE, owner, *names, ask.tokens, *rates):
            case [b"held", text, reserved_us, ends_us]:
                return Held(read_ask(text), reserved_us, ends_us)
            case [b"refused", requests_us, tokens_us, running]:
                return Refused(requests_us, tokens_us, running == 1)
            case _:
                return OutboxFull()

    async def renew(self, owner: Tenant, reservation: str) -> int:
        return (await self._run(RENEW, owner, reservation))[0]

    async def commit(self, owner: Tenant, held_tokens: int, settled: Settled) -> bool:
        names = (settled.reservation, keys.counters_field(owner))
        answer = await self._run(COMMIT, owner, *names, held_tokens, settled.usage.tokens, write_settled(settled))
        return answer[0] == 1

    async def release(self, owner: Tenant, reservation: str) -> bool:
        return (await self._run(RELEASE, owner, reservation))[0] == 1

    async def use(self, owner: Tenant, limits: Limits) -> Use:
        return Use(*await self._run(USAGE, owner, keys.counters_field(owner), *_rates(limits)))

    async def forget(self, owner: Tenant) -> int:
        lapsed, cursor = 0, b"0"
        while True:
            cursor, more = await self._run(FORGET, owner, keys.counters_field(owner), cursor, _HOLDS_A_PAGE)
            lapsed += more
            if cursor == b"0":
                return lapsed

    async def sweep(self, owner: Platform) -> int:
        """One trip asks all buckets for their first end; only those where something has ended are swept."""
        first = [("ZRANGE", keys.ends_key(bucket), 0, 0, "WITHSCORES") for bucket in range(keys.BUCKETS)]
        time, *firsts = await self._redis.pipeline([("TIME",), *first])
        now_us = int(time[0]) * 1_000_000 + int(time[1])
        swept = 0
        for bucket, found in enumerate(firsts):
            while found and float(found[0][1]) <= now_us:
                looked_at = await self.sweep_bucket(bucket, _SWEPT_AT_ONCE)
                swept += looked_at
                if looked_at < _SWEPT_AT_ONCE:
                    break
        return swept

    async def sweep_bucket(self, bucket: int, most: int) -> int:
        """Look at up to `most` things in a bucket whose time has come; how many there were."""
        return (await self._run_in(SWEEP, bucket, most))[0]

    async def _run(self, script: Script, owner: Tenant, *args: Arg) -> Sequence[Any]:
        return await self._run_in(script, keys.bucket_of(owner.organisation), *args)

    async def _run_in(self, script: Script, bucket: int, *args: Arg) -> Sequence[Any]:
        """What the script says after its time and how many entries it appended."""
        _now_us, appended, *answer = await self._redis.run(script, keys.bucket_keys(bucket), (*self._terms, *args))
        if appended:
            self.grown.add(bucket)
        return answer


def _rates(limits: Limits) -> tuple[int, int, int, int]:
    return limits.requests_per_minute, limits.request_burst, limits.tokens_per_minute, limits.token_burst
