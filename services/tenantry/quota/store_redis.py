"""The books in Redis: one script call for each method. `holds.py` says what the scripts do."""

from collections.abc import Sequence
from dataclasses import astuple
from importlib import resources
from typing import Any

from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.redis import Arg, Redis, Script
from tenantry.quota import keys
from tenantry.quota.codec import read_ask, write_ask, write_demand, write_settled
from tenantry.quota.counters import MEASURES
from tenantry.quota.entries import (
    Ask,
    Demand,
    Full,
    Held,
    OutboxFull,
    Refused,
    Renewed,
    Settled,
    Used,
    Warned,
)
from tenantry.quota.holds import Terms

_TAKING = ("head", "state", "taking", "endings")
_ENDING = ("head", "state", "endings")
_A_PAGE = 200
_SWEPT_AT_ONCE = 200


def _script(name: str, parts: tuple[str, ...], flags: str) -> Script:
    """A script with the rules before it. Its flags are for Redis: whether it writes, and may when memory is full."""
    folder = resources.files("tenantry.quota").joinpath("scripts")
    texts = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in (*parts, name)]
    return Script(name, f"#!lua{f' flags={flags}' if flags else ''}\n" + "\n".join(texts))


RESERVE = _script("reserve", _TAKING, "")
# Settling frees memory in the end, and what was used must not be lost: these run even when memory is full.
RENEW = _script("renew", _TAKING, "allow-oom")
COMMIT, RELEASE, SWEEP, FORGET = (
    _script(name, _ENDING, "allow-oom") for name in ("commit", "release", "sweep", "forget")
)
USAGE = _script("usage", _TAKING, "no-writes")


class RedisBooks:
    """Books on one Redis. `grown` collects the buckets whose outbox this replica's calls have made longer."""

    def __init__(self, redis: Redis, terms: Terms) -> None:
        self._redis = redis
        self._terms = astuple(terms)
        self.grown: set[int] = set()

    async def reserve(self, owner: Tenant, ask: Ask, demand: Demand) -> Held | Refused | OutboxFull:
        written = write_ask(ask)
        names = (keys.nonce_field(owner, ask.nonce), keys.outputs_field(owner, ask.model), ask.reservation, written)
        amounts = (ask.input_tokens, ask.max_output_tokens, ask.input_price, ask.output_price)
        match await self._run(RESERVE, owner, *names, *amounts, write_demand(demand)):
            case [b"held", text, reserved_us, ends_us, output_tokens, warnings]:
                # Another one's text: the nonce came before, and what it held then is held.
                held = ask if text == written else read_ask(text)
                return Held(held, reserved_us, ends_us, output_tokens, _warnings(warnings))
            case [b"refused", limits, warnings]:
                return _refused(limits, warnings)
            case _:
                return OutboxFull()

    async def renew(
        self, owner: Tenant, reservation: str, output_tokens: int, demand: Demand | None
    ) -> Renewed | Refused | None:
        asked = write_demand(demand) if demand else ""
        match await self._run(RENEW, owner, reservation, output_tokens, asked):
            case [b"renewed", ends_us, held_output, warnings]:
                return Renewed(ends_us, held_output, _warnings(warnings))
            case [b"refused", limits, warnings]:
                return _refused(limits, warnings)
            case _:
                return None

    async def commit(self, owner: Tenant, model: str, settled: Settled) -> bool:
        usage = settled.usage
        outputs = keys.outputs_field(owner, model) if model else ""
        used = (usage.input_tokens, usage.output_tokens, usage.cost_micros)
        answer = await self._run(COMMIT, owner, settled.reservation, outputs, *used, write_settled(settled))
        return answer[0] == 1

    async def release(self, owner: Tenant, reservation: str) -> bool:
        return (await self._run(RELEASE, owner, reservation))[0] == 1

    async def use(self, owner: Tenant, demand: Demand) -> tuple[tuple[Used, ...], ...]:
        return tuple(_used(flat) for flat in await self._run(USAGE, owner, write_demand(demand)))

    async def forget(self, owner: Tenant) -> int:
        lapsed = 0
        for which in (1, 2, 3):
            cursor = b"0"
            while True:
                cursor, more = await self._run(FORGET, owner, keys.counters_field(owner), which, cursor, _A_PAGE)
                lapsed += more
                if cursor == b"0":
                    break
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

    async def probe(self) -> None:
        """Write something; StoreUnavailable while the books take nothing."""
        await self._redis.execute("SET", keys.probe_key(), 1, "EX", 60)

    async def _run(self, script: Script, owner: Tenant, *args: Arg) -> Sequence[Any]:
        return await self._run_in(script, keys.bucket_of(owner.organisation), *args)

    async def _run_in(self, script: Script, bucket: int, *args: Arg) -> Sequence[Any]:
        """What the script says after its time and how many entries it appended."""
        _now_us, appended, *answer = await self._redis.run(script, keys.bucket_keys(bucket), (*self._terms, *args))
        if appended:
            self.grown.add(bucket)
        return answer


def _warnings(found: Sequence[tuple[int, int, int]]) -> tuple[Warned, ...]:
    return tuple(Warned(subject, MEASURES[measure], percent) for subject, measure, percent in found)


def _refused(limits: Sequence[tuple[int, int, int, int]], warnings: Sequence[tuple[int, int, int]]) -> Refused:
    full = (Full(subject, MEASURES[measure], used, wait_us) for subject, measure, used, wait_us in limits)
    return Refused(tuple(full), _warnings(warnings))


def _used(flat: Sequence[int]) -> tuple[Used, ...]:
    of_four = zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
    return tuple(Used(MEASURES[measure], used, free_us, warned) for measure, used, free_us, warned in of_four)
