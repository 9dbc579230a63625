"""Queues in Redis: one script call for each method. `vtc.py` says what the scripts do."""

from collections.abc import Sequence
from importlib import resources
from itertools import count
from typing import Any, TypeVar

from tenantry.kit.ids import new_id
from tenantry.kit.owner import Platform, Pool
from tenantry.kit.redis import Arg, Redis, Script
from tenantry.quota import keys
from tenantry.quota.slot import (
    Answer,
    Call,
    Dropped,
    Gone,
    Granted,
    How,
    Late,
    News,
    PoolSettings,
    QueueTerms,
    Row,
    Said,
    TooLarge,
    Use,
    Waiting,
)
from tenantry.quota.store_queue import Progress

_NEWS_AT_ONCE = 1_000
_POOLS_AT_ONCE = 10_000
_MOST_ROWS = 200
T = TypeVar("T")


def _script(name: str, flags: str) -> Script:
    """A script with the pool's state and the rules before it. Its flags are for Redis: whether it writes, and may when memory
    is full."""
    folder = resources.files("tenantry.quota").joinpath("scripts")
    parts = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("queue_state", "queue", f"queue_{name}")]
    return Script(f"queue_{name}", f"#!lua{f' flags={flags}' if flags else ''}\n" + "\n".join(parts))


ACQUIRE = _script("acquire", "")
# What frees memory, or what a running call needs, runs even when memory is full.
RELEASE, RENEW, ATTACH, SWEEP = (_script(name, "allow-oom") for name in ("release", "renew", "attach", "sweep"))
LOOK, WATCH = (_script(name, "no-writes") for name in ("look", "watch"))


class RedisQueues:
    """Queues on one Redis."""

    def __init__(self, redis: Redis, terms: QueueTerms) -> None:
        self._redis = redis
        self._terms = (terms.lease_us, terms.idle_us, terms.remember_us, terms.batch)
        # Epochs that this process may begin: an id of its own, and a number a call, since an id a call takes as long as the call.
        self._mark = new_id("epoch")
        self._numbers = count()

    async def acquire(self, owner: Pool, call: Call, settings: PoolSettings) -> Said[Answer]:
        said = await self._run(ACQUIRE, owner, settings, *_call(call), call.within_us)
        return _saying(said, _answer(said.lease.epoch, said.answer))

    async def release(
        self, owner: Pool, ticket: str, tenant: str, output_tokens: int, how: How, retry_us: int, settings: PoolSettings
    ) -> Said[bool]:
        said = await self._run(RELEASE, owner, settings, ticket, tenant, output_tokens, how.value, retry_us)
        return _saying(said, said.answer[0] == 1)

    async def renew(self, owner: Pool, calls: Sequence[Progress], settings: PoolSettings) -> Said[Sequence[int]]:
        return await self._run(RENEW, owner, settings, *(part for call in calls for part in call))

    async def attach(
        self, owner: Pool, call: Call, output_tokens: int, lease: Granted, settings: PoolSettings
    ) -> Said[Granted | Gone]:
        said = await self._run(ATTACH, owner, settings, *_call(call), output_tokens, lease.epoch, lease.ends_us)
        answer = _answer(said.lease.epoch, said.answer)
        return _saying(said, answer if isinstance(answer, Granted) else Gone())

    async def look(
        self, owner: Pool, calls: Sequence[tuple[str, str]], settings: PoolSettings
    ) -> Said[Sequence[Answer]]:
        said = await self._run(LOOK, owner, settings, *(part for call in calls for part in call))
        return _saying(said, [_answer(said.lease.epoch, answer) for answer in said.answer])

    async def sweep(self, owner: Pool, most: int, settings: PoolSettings) -> Said[int]:
        said = await self._run(SWEEP, owner, settings, most)
        if said.answer[1]:
            await self._redis.execute("ZREM", keys.pools_key(), owner.name)
        return _saying(said, said.answer[0])

    async def watch(self, owner: Pool, tenant: str, settings: PoolSettings) -> tuple[Use, Sequence[Row]]:
        said = await self._run(WATCH, owner, settings, tenant, _MOST_ROWS)
        use, *rows = said.answer
        return Use(*use), [Row(name.decode(), *figures) for name, *figures in rows]

    async def news(self, owner: Pool, after: str) -> tuple[str, Sequence[News]]:
        read = ("XRANGE", keys.queue_news_key(owner), f"({after}", "+", "COUNT", _NEWS_AT_ONCE)
        entries = await self._redis.execute(*read)
        return (entries[-1][0].decode() if entries else after), [_news(fields) for _, fields in entries]

    async def remember(self, owner: Pool) -> None:
        await self._redis.execute("ZADD", keys.pools_key(), 0, owner.name)

    async def pools(self, owner: Platform, after: str, most: int) -> Sequence[Pool]:
        begin = f"({after}" if after else "-"
        names = await self._redis.execute("ZRANGEBYLEX", keys.pools_key(), begin, "+", "LIMIT", 0, most)
        return [Pool(name.decode()) for name in names]

    async def due(self, owner: Platform) -> Sequence[Pool]:
        names = await self._redis.execute("ZRANGE", keys.pools_key(), 0, _POOLS_AT_ONCE - 1)
        pools = [Pool(name.decode()) for name in names]
        first = [("ZRANGE", keys.queue_ends_key(pool), 0, 0, "WITHSCORES") for pool in pools]
        time, *firsts = await self._redis.pipeline([("TIME",), *first])
        now_us = int(time[0]) * 1_000_000 + int(time[1])
        return [pool for pool, found in zip(pools, firsts, strict=True) if not found or float(found[0][1]) <= now_us]

    async def _run(self, script: Script, owner: Pool, settings: PoolSettings, *args: Arg) -> Said[Sequence[Any]]:
        now_us, epoch, news, *answer = await self._redis.run(
            script,
            keys.queue_keys(owner),
            (*self._terms, *_settings(settings), f"{self._mark}.{next(self._numbers)}", *args),
        )
        pairs = zip(news[::2], news[1::2], strict=True)
        told = tuple(News(name.decode(), granted == 1) for name, granted in pairs)
        return Said(answer, told, now_us, Granted(epoch.decode(), now_us + self._terms[0]))


def _saying(said: Said[Any], answer: T) -> Said[T]:
    return Said(answer, said.news, said.now_us, said.lease)


def _settings(settings: PoolSettings) -> tuple[Arg, ...]:
    return (
        settings.kind.value,
        settings.capacity,
        settings.input_weight,
        settings.output_weight,
        settings.most_waiting,
        int(settings.adaptive),
    )


def _call(call: Call) -> tuple[Arg, ...]:
    return (
        call.ticket,
        call.organisation,
        call.tenant,
        call.weight,
        call.most_running,
        call.priority,
        call.input_tokens,
        call.max_output_tokens,
    )


def _answer(epoch: str, answer: Sequence[Any]) -> Answer:
    match answer:
        case [1, ends_us, *_]:
            return Granted(epoch, ends_us)
        case [2, place, wait_us]:
            return Waiting(place, wait_us)
        case [3, wait_us, *_]:
            return Dropped(wait_us)
        case [5, wait_us]:
            return Late(wait_us)
        case [6]:
            return TooLarge()
        case _:
            return Gone()


def _news(fields: Sequence[bytes]) -> News:
    told = dict(zip(fields[::2], fields[1::2], strict=True))
    return News(told[b"t"].decode(), told[b"g"] == b"1")
