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
from tenantry.quota.counters import Counters
from tenantry.quota.entries import Amounts, Ask, Demand, Held, Limits, Settled, Subject
from tenantry.quota.holds import Appended, Holds, Terms
from tenantry.quota.store_redis import RedisBooks
from tests.harness.demands import calendar_at, demand_of

# Real time passes in milliseconds, so all periods are of milliseconds, and rates such that milliseconds matter.
TERMS = Terms(4_000, 9_000, 6_000, sweep_most=3, outbox_most=12, crowd_most=2, outputs_us=20_000)
OWNERS = (Tenant("one-org", "a"), Tenant("one-org", "b"))
LIMITS = (
    Limits(60_000, 3, 600_000, 100, 3),
    Limits(1_000_000, 6, 6_000_000, 100, 9, 600_000, 60, tokens_per_day=200, cost_micros_per_month=300),
    Limits(60, 4, 6_000, 40, 2, output_tokens_per_minute=6_000, output_token_burst=30, cost_micros_per_day=90),
    Limits(tokens_per_day=150, tokens_per_month=333),
    Limits(concurrent_requests=2),
)
_limits = st.sampled_from(LIMITS)
_amounts = st.integers(0, 60)

# Counters as whole numbers, written out: number, running, crowd, then each rate's time, rate, closed, charges and warning, and
# each budget; 0 for what is not counted.
_DUMP = Script(
    "dump",
    """
    local fields, dumped = redis.call('HGETALL', KEYS[1]), {}
    for place = 1, #fields, 2 do
      local counters = cmsgpack.unpack(fields[place + 1])
      local flat = {fields[place], counters[1], counters[2], counters[3]}
      local function add(part)
        if type(part) == 'table' then
          for _, inner in ipairs(part) do
            add(inner)
          end
        else
          flat[#flat + 1] = part
        end
      end
      for at = 4, 11 do
        add(counters[at])
      end
      for at = 2, #flat do
        flat[at] = type(flat[at]) == 'number' and string.format('%.0f', flat[at]) or flat[at]
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
        self.times_us: list[int] = []

    @property
    def now_us(self) -> int:
        return self.times_us[-1]

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        reply = await self._redis.run(script, keys, args)
        self.times_us.append(reply[0])
        return reply


def _flat(counters: Counters) -> list[str]:
    parts: list[int] = []
    for rate in counters.rates:
        if rate is None:
            parts.append(0)
            continue
        bucket = rate.bucket
        charges = [part for charge in bucket.charges for part in (charge.number, charge.units)]
        parts += [bucket.at_us, bucket.rate, int(bucket.closed), *charges, rate.warned]
    for budget in counters.budgets:
        parts += [0] if budget is None else [budget.end_us, budget.used, budget.first, budget.warned]
    return [str(counters.number), str(counters.running), counters.crowd, *map(str, parts)]


@st.composite
def _demands(draw: st.DrawFn) -> tuple[Tenant, tuple[Subject, ...], int, int]:
    """A tenant, what its request is counted in, the length of its days and months, and how far the caller's clock is off."""
    owner = draw(st.sampled_from(OWNERS))
    tenant, organisation = keys.counters_field(owner), keys.counters_field(Tenant("one-org", ""))
    own = [Subject(tenant, "", draw(_limits), local=True)]
    if draw(st.booleans()):
        own.append(Subject(organisation, "", draw(_limits), local=False))
    if draw(st.booleans()):
        user = keys.counters_field(owner, end_user=draw(st.sampled_from(("u", "v", "w", "\u00e9", '"\\\x01]}'))))
        own.append(Subject(user, "", draw(_limits), True, tenant, keys.others_field(owner)))
    return owner, tuple(own), draw(st.sampled_from((3_000, 5_000, 20_000))), draw(st.integers(-3_000, 3_000))


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

    def demand(self, drawn: tuple[Tenant, tuple[Subject, ...], int, int]) -> Demand:
        _, subjects, day_us, skew_us = drawn
        now_us = int(time.time() * 1_000_000) + skew_us
        return Demand(subjects, calendar_at(now_us, day_us, 3), calendar_at(now_us, 4_000, 3))

    @rule(drawn=_demands(), nonce=st.integers(0, 40), held=_amounts, output=_amounts, price=st.integers(0, 10**6))
    def reserve(
        self, drawn: tuple[Tenant, tuple[Subject, ...], int, int], nonce: int, held: int, output: int, price: int
    ) -> None:
        owner, demand = drawn[0], self.demand(drawn)
        ask = Ask(
            owner, f"res_{len(self.asks)}", f"n{nonce}", "key", "\u00e9'\"", "m", "req", held, output, price, 10**6
        )
        answer = self.wait(self.lua.reserve(owner, ask, demand))
        nonce_field = keys.nonce_field(owner, ask.nonce)
        outputs = keys.outputs_field(owner, "m")
        assert answer == self.python.reserve(self.timed.now_us, nonce_field, outputs, ask, demand)
        if isinstance(answer, Held):
            self.asks.append(ask)

    @precondition(lambda self: self.asks)
    @rule(which=st.integers(0, 100), drawn=_demands(), output=_amounts, asks=st.booleans())
    def renew(self, which: int, drawn: tuple[Tenant, tuple[Subject, ...], int, int], output: int, asks: bool) -> None:
        ask = self.asks[which % len(self.asks)]
        demand = self.demand(drawn) if asks else None
        answer = self.wait(self.lua.renew(ask.owner, ask.reservation, output, demand))
        assert answer == self.python.renew(self.timed.now_us, ask.reservation, output, demand)

    @precondition(lambda self: self.asks)
    @rule(which=st.integers(0, 100), read=_amounts, written=_amounts, cost=_amounts, model=st.sampled_from(("", "m")))
    def commit(self, which: int, read: int, written: int, cost: int, model: str) -> None:
        ask = self.asks[which % len(self.asks)]
        usage = Usage(input_tokens=read, output_tokens=written, cost_micros=cost)
        settled = Settled(ask.reservation, ask.owner, "key", "", False, 0, usage)
        answer = self.wait(self.lua.commit(ask.owner, model, settled))
        outputs = keys.outputs_field(ask.owner, model) if model else ""
        used = Amounts(1, read + written, read, written, cost)
        assert answer == self.python.commit(self.timed.now_us, ask.reservation, outputs, used, settled)

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

    @rule(drawn=_demands())
    def use(self, drawn: tuple[Tenant, tuple[Subject, ...], int, int]) -> None:
        demand = self.demand(drawn)
        assert self.wait(self.lua.use(drawn[0], demand)) == self.python.use(self.timed.now_us, demand)

    @rule(owner=st.sampled_from(OWNERS))
    def forget(self, owner: Tenant) -> None:
        calls = len(self.timed.times_us)
        lapsed = self.wait(self.lua.forget(owner))
        # Holds lapse in the first call, and the others do nothing that has a time.
        assert lapsed == self.python.forget(self.timed.times_us[calls], keys.counters_field(owner))

    @rule()
    def acknowledge(self) -> None:
        self.wait(self.redis.execute("DEL", keys.outbox_key(self.bucket)))
        self.python.outbox.clear()

    @invariant()
    def counters_are_the_same(self) -> None:
        dumped = self.wait(self.redis.run(_DUMP, keys.bucket_keys(self.bucket)[:1], ()))
        found = {field.decode(): [part.decode() for part in flat] for field, *flat in dumped}
        assert found == {field: _flat(counters) for field, counters in self.python.counters.items()}

    @invariant()
    def the_rest_is_the_same(self) -> None:
        _, holds, nonces, ends, outbox, ended, outputs, crowds = keys.bucket_keys(self.bucket)
        names = [("HKEYS", key) for key in (holds, nonces, ended, outputs)]
        read = [*names, ("HGETALL", crowds), ("ZRANGE", ends, 0, -1, "WITHSCORES"), ("XRANGE", outbox, "-", "+")]
        *named, in_crowds, found_ends, entries = self.wait(self.redis.pipeline(read))
        python = self.python
        for found, known in zip(named, (python.holds, python.nonces, python.ended, python.outputs), strict=True):
            assert {name.decode() for name in found} == set(known)
        pairs = in_crowds.items() if isinstance(in_crowds, dict) else zip(in_crowds[::2], in_crowds[1::2], strict=True)
        assert {crowd.decode(): int(count) for crowd, count in pairs} == python.crowds
        assert {name.decode(): int(float(end)) for name, end in found_ends} == python.ends
        assert [_appended(fields) for _, fields in entries] == python.outbox


def _appended(fields: Sequence[bytes]) -> Appended:
    entry = dict(zip(fields[::2], fields[1::2], strict=True))
    at_us, reserved_us = int(entry[b"t"]), int(entry[b"r"])
    if reserved_us:
        return Appended(read_ask(entry[b"b"]), at_us, reserved_us, int(entry[b"o"]), int(entry[b"c"]))
    return Appended(read_settled(entry[b"b"], 0), at_us)


def test_scripts_and_rules_answer_alike(books_url: str, effort: float) -> None:
    class There(Both):
        url = books_url

    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        There,
        settings=settings(
            max_examples=int(40 * effort), stateful_step_count=40, deadline=None, suppress_health_check=slow
        ),
    )


async def test_scripts_and_rules_keep_equally_many_holds_apart(books_url: str) -> None:
    redis = connect(books_url, store="books")
    timed = Timed(redis)
    terms = Terms()
    lua, python = RedisBooks(timed, terms), Holds(terms)  # type: ignore[arg-type]
    owner, limits = Tenant("crowd-org", "crowd"), Limits(1, 1_000, 1, 100_000, 1_000)
    outputs = keys.outputs_field(owner, "m")
    demand = demand_of(owner, limits)
    await redis.execute("DEL", *keys.bucket_keys(keys.bucket_of("crowd-org")))
    try:
        for number in range(300):
            ask = Ask(owner, f"res_{number}", f"n{number}", "key", "", "m", "", number % 7, 1)
            answer = await lua.reserve(owner, ask, demand)
            nonce = keys.nonce_field(owner, ask.nonce)
            assert answer == python.reserve(timed.now_us, nonce, outputs, ask, demand)
        for number in range(0, 300, 3):
            assert await lua.release(owner, f"res_{number}") == python.release(timed.now_us, f"res_{number}")
            assert await lua.use(owner, demand) == python.use(timed.now_us, demand)
    finally:
        await redis.close()


async def test_scripts_and_rules_expect_answers_of_the_same_length(books_redis: Redis) -> None:
    timed = Timed(books_redis)
    terms = Terms()
    lua, python = RedisBooks(timed, terms), Holds(terms)  # type: ignore[arg-type]
    owner, limits = Tenant("length-org", "length"), Limits(1_000_000, 1_000_000, concurrent_requests=10)
    outputs = keys.outputs_field(owner, "m")
    demand = demand_of(owner, limits)
    await books_redis.execute("DEL", *keys.bucket_keys(keys.bucket_of("length-org")))
    for number in range(450):
        ask = Ask(owner, f"res_{number}", f"n{number}", "key", "", "m", "", 1, 10**8)
        answer = await lua.reserve(owner, ask, demand)
        nonce = keys.nonce_field(owner, ask.nonce)
        assert answer == python.reserve(timed.now_us, nonce, outputs, ask, demand)
        written = (number * 7919) ** (1 + number % 3) % 10**7
        settled = Settled(ask.reservation, owner, "key", "", False, 0, Usage(output_tokens=written))
        assert await lua.commit(owner, "m", settled)
        python.commit(timed.now_us, ask.reservation, outputs, Amounts(1, written, 0, written), settled)
