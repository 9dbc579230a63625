"""Queues in Redis: one script call for each method. `vtc.py` says what the scripts do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

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
    TooLarge,
    Waiting,
)

_NEWS_AT_ONCE = 1_000
_POOLS_AT_ONCE = 500


def _script(name: str, flags: str) -> Script:
    """A script with the rules before it. Its flags are for Redis: whether it writes, and may when memory is full."""
    folder = resources.files("tenantry.quota").joinpath("scripts")
    rules, own = (folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("queue", f"queue_{name}"))
    return Script(f"queue_{name}", f"#!lua{f' flags={flags}' if flags else ''}\n{rules}\n{own}")


ACQUIRE = _script("acquire", "")
# What frees memory, or what a running call needs, runs even when memory is full.
RELEASE, RENEW, ATTACH, SWEEP = (_script(name, "allow-oom") for name in ("release", "renew", "attach", "sweep"))
LOOK = _script("look", "no-writes")


@dataclass(frozen=True, slots=True)
class Told:
    """What a script said: at which microsecond of Redis's, of which epoch, what it did to waiting calls, its answer."""

    now_us: int
    epoch: str
    news: tuple[News, ...]
    answer: Sequence[Any]


class RedisQueues:
    """Queues on one Redis."""

    def __init__(self, redis: Redis, terms: QueueTerms) -> None:
        self._redis = redis
        self._terms = (terms.lease_us, terms.idle_us, terms.remember_us, terms.batch)

    async def acquire(self, owner: Pool, call: Call, settings: PoolSettings) -> tuple[Answer, tuple[News, ...]]:
        told = await self._run(ACQUIRE, owner, settings, *_call(call), call.deadline_us)
        return _answer(told.epoch, told.answer), told.news

    async def release(
        self,
        owner: Pool,
        ticket: str,
        tenant: str,
        output_tokens: int,
        how: How,
        retry_after_us: int,
        settings: PoolSettings,
    ) -> tuple[bool, tuple[News, ...]]:
        told = await self._run(RELEASE, owner, settings, ticket, tenant, output_tokens, how.value, retry_after_us)
        return told.answer[0] == 1, told.news

    async def renew(self, owner: Pool, calls: Sequence[tuple[str, str, int]], settings: PoolSettings) -> Sequence[int]:
        told = await self._run(RENEW, owner, settings, *(part for call in calls for part in call))
        return told.answer

    async def attach(
        self, owner: Pool, call: Call, output_tokens: int, lease: Granted, settings: PoolSettings
    ) -> Granted | Gone:
        told = await self._run(ATTACH, owner, settings, *_call(call), output_tokens, lease.epoch, lease.ends_us)
        answer = _answer(told.epoch, told.answer)
        return answer if isinstance(answer, Granted) else Gone()

    async def look(self, owner: Pool, calls: Sequence[tuple[str, str]], settings: PoolSettings) -> Sequence[Answer]:
        told = await self._run(LOOK, owner, settings, *(part for call in calls for part in call))
        return [_answer(told.epoch, answer) for answer in told.answer]

    async def sweep(self, owner: Pool, most: int, settings: PoolSettings) -> tuple[int, bool, tuple[News, ...]]:
        told = await self._run(SWEEP, owner, settings, most)
        return told.answer[0], told.answer[1] == 1, told.news

    async def news(self, owner: Platform, after: Mapping[Pool, str]) -> Mapping[Pool, tuple[str, Sequence[News]]]:
        pools = list(after)
        read = [("XRANGE", keys.queue_news_key(pool), f"({after[pool]}", "+", "COUNT", _NEWS_AT_ONCE) for pool in pools]
        found = await self._redis.pipeline(read) if read else []
        return {
            pool: (entries[-1][0].decode(), [_news(fields) for _, fields in entries])
            for pool, entries in zip(pools, found, strict=True)
            if entries
        }

    async def _run(self, script: Script, owner: Pool, settings: PoolSettings, *args: Arg) -> Told:
        now_us, epoch, news, *answer = await self._redis.run(
            script, keys.queue_keys(owner), (*self._terms, *_settings(settings), new_id("epoch"), *args)
        )
        pairs = zip(news[::2], news[1::2], strict=True)
        return Told(now_us, epoch.decode(), tuple(News(name.decode(), granted == 1) for name, granted in pairs), answer)


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
