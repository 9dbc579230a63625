"""The Lua scripts and the Python rules answer alike and leave the same state, whatever is asked of them in whatever
order."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tenantry.kit.owner import Tenant
from tenantry.kit.redis import Arg, Redis, Script, connect
from tenantry.kit.usage import Usage
from tenantry.quota import keys
from tenantry.quota.codec import read_ask, read_settled
from tenantry.quota.entries import Ask, Held, Limits, Settled
from tenantry.quota.gcra import Bucket
from tenantry.quota.holds import Appended, Holds, Terms
from tenantry.quota.store_redis import RedisBooks

# Real time passes in milliseconds, so all periods are of milliseconds, and rates such that milliseconds matter.
TERMS = Terms(hold_us=4_000, remember_us=9_000, idle_us=6_000, sweep_most=3, outbox_most=12)
OWNERS = (Tenant("one-org", "a"), Tenant("one-org", "b"))
LIMITS = (Limits(60_000, 3, 600_000, 100, 3), Limits(1_000_000, 6, 6_000_000, 100, 9), Limits(60, 4, 6_000, 40, 2))
_owners = st.sampled_from(OWNERS)
_limits = st.sampled_from(LIMITS)
_amounts = st.integers(0, 60)

# Counters as whole numbers, written out: number, running, then each bucket's time, rate, closed and charges.
_DUMP = Script(
    "dump",
    """
    local fields, dumped = redis.call('HGETALL', KEYS[1]), {}
    for place = 1, #fields, 2 do
      local counters = cmsgpack.unpack(fields[place + 1])
      local flat = {fields[place], counters[1], counters[2]}
      for _, bucket in ipairs({counters[3], counters[4]}) do
        flat[#flat + 1] = bucket[1]
        flat[#flat + 1] = bucket[2]
        flat[#flat + 1] = bucket[3]
        flat[#flat + 1] = #bucket[4]
        for _, part in ipairs(bucket[4]) do
          flat[#flat + 1] = part
        end
      end
      for at = 2, #flat do
        flat[at] = string.format('%.0f', flat[at])
      end
      dumped[#dumped + 1] = flat
    end
    return dumped
    """,
)


class Timed:
    """A Redis that notes at what time, by its own word, it ran each script."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.now_us = 0

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        reply = await self._redis.run(script, keys, args)
        self.now_us = reply[0]
        return reply


def _flat(bucket: Bucket) -> list[int]:
    charges = [part for charge in bucket.charges for part in (charge.number, charge.units)]
    return [bucket.at_us, bucket.rate, int(bucket.closed), len(charges), *charges]


class Both(RuleBasedStateMachine):
    """Asks the scripts, then the rules at the time that the script says it ran at."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.redis = connect(self.url, store="books")
        self.timed = Timed(self.redis)
        self.lua = RedisBooks(self.timed, TERMS)  # type: ignore[arg-type]
        self.python = Holds(TERMS)
        self.asks: list[Ask] = []
        self.bucket = keys.bucket_of("one-org")
        self.wait(self.redis.execute("DEL", *keys.bucket_keys(self.bucket)))

    def wait(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.wait(self.redis.close())
        self.loop.close()

    @rule(ms=st.integers(1, 6))
    def pause(self, ms: int) -> None:
        time.sleep(ms / 1000)

    @rule(owner=_owners, limits=_limits, nonce=st.integers(0, 40), held=_amounts, output=_amounts)
    def reserve(self, owner: Tenant, limits: Limits, nonce: int, held: int, output: int) -> None:
        ask = Ask(owner, f"res_{len(self.asks)}", f"n{nonce}", "key", "é'\"", "m", "req", held, output)
        answer = self.wait(self.lua.reserve(owner, ask, limits))
        field, nonce_field = keys.counters_field(owner), keys.nonce_field(owner, ask.nonce)
        assert answer == self.python.reserve(self.timed.now_us, field, nonce_field, ask, limits)
        if isinstance(answer, Held):
            self.asks.append(ask)

    @precondition(lambda self: self.asks)
    @rule(which=st.integers(0, 100))
    def renew(self, which: int) -> None:
        ask = self.asks[which % len(self.asks)]
        answer = self.wait(self.lua.renew(ask.owner, ask.reservation))
        assert answer == self.python.renew(self.timed.now_us, ask.reservation)

    @precondition(lambda self: self.asks)
    @rule(which=st.integers(0, 100), used=_amounts)
    def commit(self, which: int, used: int) -> None:
        ask = self.asks[which % len(self.asks)]
        settled = Settled(ask.reservation, ask.owner, "key", "", False, 0, Usage(input_tokens=used))
        answer = self.wait(self.lua.commit(ask.owner, ask.tokens, settled))
        field = keys.counters_field(ask.owner)
        expected = self.python.commit(self.timed.now_us, field, ask.reservation, ask.tokens, used, settled)
        assert answer == expected

    @precondition(lambda self: self.asks)
    @rule(which=st.integers(0, 100))
    def release(self, which: int) -> None:
        ask = self.asks[which % len(self.asks)]
        answer = self.wait(self.lua.release(ask.owner, ask.reservation))
        assert answer == self.python.release(self.timed.now_us, ask.reservation)

    @rule(most=st.integers(1, 5))
    def sweep(self, most: int) -> None:
        answer = self.wait(self.lua.sweep_bucket(self.bucket, most))
        assert answer == self.python.sweep(self.timed.now_us, most)

    @rule(owner=_owners, limits=_limits)
    def use(self, owner: Tenant, limits: Limits) -> None:
        answer = self.wait(self.lua.use(owner, limits))
        assert answer == self.python.use(self.timed.now_us, keys.counters_field(owner), limits)

    @rule(owner=_owners)
    def forget(self, owner: Tenant) -> None:
        assert self.wait(self.lua.forget(owner)) == self.python.forget(self.timed.now_us, keys.counters_field(owner))

    @rule()
    def acknowledge(self) -> None:
        self.wait(self.redis.execute("DEL", keys.outbox_key(self.bucket)))
        self.python.outbox.clear()

    @invariant()
    def counters_are_the_same(self) -> None:
        dumped = self.wait(self.redis.run(_DUMP, keys.bucket_keys(self.bucket)[:1]))
        found = {field.decode(): [int(part) for part in flat] for field, *flat in dumped}
        expected = {
            field: [counters.number, counters.running, *_flat(counters.requests), *_flat(counters.tokens)]
            for field, counters in self.python.counters.items()
        }
        assert found == expected

    @invariant()
    def the_rest_is_the_same(self) -> None:
        _, holds, nonces, ends, outbox = keys.bucket_keys(self.bucket)
        read = [("HKEYS", holds), ("HKEYS", nonces), ("ZRANGE", ends, 0, -1, "WITHSCORES")]
        found = self.wait(self.redis.pipeline([*read, ("XRANGE", outbox, "-", "+")]))
        assert {name.decode() for name in found[0]} == set(self.python.holds)
        assert {name.decode() for name in found[1]} == set(self.python.nonces)
        assert {name.decode(): int(float(end)) for name, end in found[2]} == self.python.ends
        assert [_appended(fields) for _, fields in found[3]] == self.python.outbox


def _appended(fields: Sequence[bytes]) -> Appended:
    entry = dict(zip(fields[::2], fields[1::2], strict=True))
    at_us, reserved_us = int(entry[b"t"]), int(entry[b"r"])
    if reserved_us:
        return Appended(read_ask(entry[b"b"]), at_us, reserved_us)
    return Appended(read_settled(entry[b"b"], 0), at_us)


def test_scripts_and_rules_answer_alike(books_url: str) -> None:
    class There(Both):
        url = books_url

    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        There, settings=settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=slow)
    )


async def test_scripts_and_rules_keep_equally_many_holds_apart(books_url: str) -> None:
    redis = connect(books_url, store="books")
    timed = Timed(redis)
    terms = Terms()
    lua, python = RedisBooks(timed, terms), Holds(terms)  # type: ignore[arg-type]
    owner, limits = Tenant("crowd-org", "crowd"), Limits(1, 1_000, 1, 100_000, 1_000)
    field = keys.counters_field(owner)
    await redis.execute("DEL", *keys.bucket_keys(keys.bucket_of("crowd-org")))
    try:
        for number in range(300):
            ask = Ask(owner, f"res_{number}", f"n{number}", "key", "", "m", "", number % 7, 1)
            answer = await lua.reserve(owner, ask, limits)
            nonce = keys.nonce_field(owner, ask.nonce)
            assert answer == python.reserve(timed.now_us, field, nonce, ask, limits)
        for number in range(0, 300, 3):
            assert await lua.release(owner, f"res_{number}") == python.release(timed.now_us, f"res_{number}")
            use = await lua.use(owner, limits)
            assert use == python.use(timed.now_us, field, limits)
    finally:
        await redis.close()
