"""A pool's scripts and the Python rules answer alike and leave the same state, whatever is asked of them in whatever
order."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tenantry.kit.owner import Pool
from tenantry.kit.redis import Arg, Redis, Script, connect
from tenantry.quota import keys
from tenantry.quota.slot import Call, Granted, How, Kind, PoolSettings, QueueTerms
from tenantry.quota.store_redis_queue import RedisQueues
from tenantry.quota.vtc import Queue

# Real time passes in milliseconds, so all periods are of milliseconds.
TERMS = QueueTerms(lease_us=9_000, idle_us=14_000, remember_us=7_000, batch=3)
POOL = Pool("a pool: with {braces}")
# Tenants and the organisations and weights that they have: two names that would be one if they were only joined.
TENANTS = {"a": ("x", 1), "a1": ("x", 3), "b": ("xa", 2), "c": ("y", 16), "d": ("y", 1)}
SETTINGS = (
    PoolSettings(Kind.SEATS, 2, 1, 2, 6, adaptive=False),
    PoolSettings(Kind.SEATS, 4, 1, 2, 5, adaptive=True),
    PoolSettings(Kind.TOKENS, 120, 3, 7, 8, adaptive=True),
)
_tenants = st.sampled_from(sorted(TENANTS))
_settings = st.sampled_from(SETTINGS)
_amounts = st.integers(0, 60)
_which = st.integers(0, 100)

# All figures as text, since a reply has no doubles: one flat list for the pool, one for each account and ticket.
_DUMP = Script(
    "dump",
    """
    local function flat(name, packed)
      local out = {name}
      for _, value in ipairs({cmsgpack.unpack(packed)}) do
        out[#out + 1] = type(value) == 'number' and string.format('%.0f', value) or tostring(value)
      end
      return out
    end
    local dumped = {}
    for _, key in ipairs({KEYS[6], KEYS[5]}) do
      local fields, found = redis.call('HGETALL', key), {}
      for place = 1, #fields, 2 do
        found[#found + 1] = flat(fields[place], fields[place + 1])
      end
      dumped[#dumped + 1] = found
    end
    local pool = redis.call('GET', KEYS[1])
    dumped[#dumped + 1] = pool and flat('pool', pool) or {}
    return dumped
    """,
)
# Makes the books believe that another run of Redis began their epoch.
_MOVE = Script(
    "move",
    """
    local pool = redis.call('GET', KEYS[1])
    if pool then
      local values = {cmsgpack.unpack(pool)}
      values[2] = ARGV[1] -- server
      redis.call('SET', KEYS[1], cmsgpack.pack(unpack(values)))
    end
    return 0
    """,
)


class Timed:
    """A Redis that notes at what time and in which epoch, by its own word, it ran each script."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.now_us = 0
        self.epoch = ""

    async def execute(self, *command: Arg) -> Any:
        return await self._redis.execute(*command)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        reply = await self._redis.run(script, keys, args)
        self.now_us, self.epoch = reply[0], reply[1].decode()
        return reply


class Both(RuleBasedStateMachine):
    """Asks the scripts, then the rules at the time and in the epoch that the script says it ran at."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.redis = connect(self.url, store="books")
        self.timed = Timed(self.redis)
        self.lua = RedisQueues(self.timed, TERMS)  # type: ignore[arg-type]
        self.python = Queue(TERMS)
        self.settings = SETTINGS[0]
        self.calls: list[Call] = []
        self.leases: dict[str, Granted] = {}
        self.wait(self.redis.execute("DEL", *keys.queue_keys(POOL)))

    def wait(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def asked(self, work: Any) -> Any:
        """The scripts' answer; the rules are then asked at its time, their news beginning here."""
        answer = self.wait(work)
        self.python.news.clear()
        self.python.epoch = self.timed.epoch
        return answer

    def teardown(self) -> None:
        self.wait(self.redis.close())
        self.loop.close()

    @rule(ms=st.integers(1, 8))
    def pause(self, ms: int) -> None:
        time.sleep(ms / 1000)

    @rule(chosen=_settings)
    def set_pool(self, chosen: PoolSettings) -> None:
        self.settings = chosen

    @rule(tenant=_tenants, tokens=st.tuples(_amounts, _amounts), priority=st.integers(0, 9), most=st.integers(1, 3))
    def acquire(self, tenant: str, tokens: tuple[int, int], priority: int, most: int) -> None:
        self.ask(tenant, tokens, priority, most, 0)

    @rule(tenant=_tenants, priority=st.integers(0, 1), within=st.integers(1, 30))
    def acquire_in_time(self, tenant: str, priority: int, within: int) -> None:
        self.ask(tenant, (3, 5), priority, 4, within * 1_000)

    @rule(tenants=st.lists(_tenants, min_size=4, max_size=12))
    def rush(self, tenants: list[str]) -> None:
        for tenant in tenants:
            self.ask(tenant, (len(tenants), 2), 0, 5, 0)

    def ask(self, tenant: str, tokens: tuple[int, int], priority: int, most: int, within_us: int) -> None:
        organisation, weight = TENANTS[tenant]
        number = len(self.calls)
        call = Call(f"slot_{number}", organisation, tenant, weight, most, priority, *tokens, within_us)
        self.calls.append(call)
        self.again(call)

    @precondition(lambda self: self.calls)
    @rule(which=_which)
    def acquire_again(self, which: int) -> None:
        self.again(self.calls[which % len(self.calls)])

    def again(self, call: Call) -> None:
        said = self.asked(self.lua.acquire(POOL, call, self.settings))
        answer = said.answer
        assert answer == self.python.acquire(self.timed.now_us, call, self.settings)
        assert list(said.news) == self.python.news
        if isinstance(answer, Granted):
            self.leases[call.ticket] = answer

    @precondition(lambda self: self.calls)
    @rule(which=_which, output=st.integers(-1, 60), how=st.sampled_from(How), retry=st.integers(0, 6))
    def release(self, which: int, output: int, how: How, retry: int) -> None:
        call = self.calls[which % len(self.calls)]
        self.end(call, output, how, retry)

    @rule(which=_which, output=st.integers(-1, 60), how=st.sampled_from(How), retry=st.integers(0, 6))
    def release_a_running_one(self, which: int, output: int, how: How, retry: int) -> None:
        running = [ticket.call for ticket in self.python.tickets.values() if ticket.granted_us]
        if running:  # no precondition: it would hang on real time
            self.end(running[which % len(running)], output, how, retry)

    @rule(retry=st.integers(0, 6))
    def throttle_all(self, retry: int) -> None:
        """All of one flight meet the same limit of the provider."""
        for call in [ticket.call for ticket in self.python.tickets.values() if ticket.granted_us]:
            self.end(call, -1, How.THROTTLED, retry)

    def end(self, call: Call, output: int, how: How, retry: int) -> None:
        asked = (call.ticket, call.tenant, output, how, retry * 1_000, self.settings)
        said = self.asked(self.lua.release(POOL, *asked))
        assert said.answer == self.python.release(self.timed.now_us, *asked)
        assert list(said.news) == self.python.news

    @precondition(lambda self: self.calls)
    @rule(chosen=st.lists(st.tuples(_which, _amounts), min_size=1, max_size=9))
    def renew(self, chosen: list[tuple[int, int]]) -> None:
        asked = [(self.calls[which % len(self.calls)], output) for which, output in chosen]
        named = [(call.ticket, call.tenant, output) for call, output in asked]
        answer = self.asked(self.lua.renew(POOL, named, self.settings)).answer
        expected = [self.python.renew(self.timed.now_us, *one, self.settings) for one in named]
        assert list(answer) == expected

    @precondition(lambda self: self.calls)
    @rule(which=_which, tenant=_tenants)
    def look(self, which: int, tenant: str) -> None:
        call = self.calls[which % len(self.calls)]
        asked = [(one.ticket, one.tenant) for one in self.calls[-9:]] + [(call.ticket, tenant)]
        answer = self.wait(self.lua.look(POOL, asked, self.settings)).answer
        assert answer == [self.python.look(self.timed.now_us, *one, self.settings) for one in asked]

    @rule(which=_which, output=_amounts, moved=st.booleans(), forged=st.booleans())
    def attach(self, which: int, output: int, moved: bool, forged: bool) -> None:
        if not self.leases:
            return
        if moved:
            self.wait(self.redis.run(_MOVE, keys.queue_keys(POOL)[:1], ["elsewhere"]))
            self.python.server = "elsewhere"
        ticket = sorted(self.leases)[which % len(self.leases)]
        call = next(call for call in self.calls if call.ticket == ticket)
        lease = replace(self.leases[ticket], epoch="forged") if forged else self.leases[ticket]
        before = self.python.epoch
        answer = self.asked(self.lua.attach(POOL, call, output, lease, self.settings)).answer
        if before and not moved:
            assert self.python.epoch == before
        assert answer == self.python.attach(self.timed.now_us, call, output, lease, self.settings)
        if isinstance(answer, Granted):
            self.leases[ticket] = answer

    @rule(most=st.integers(1, 5))
    def sweep(self, most: int) -> None:
        said = self.asked(self.lua.sweep(POOL, most, self.settings))
        assert said.answer == self.python.sweep(self.timed.now_us, self.settings, most)
        assert self.wait(self.redis.execute("EXISTS", keys.queue_keys(POOL)[0])) == bool(self.python.tenants)
        if self.python.tenants:
            assert list(said.news) == self.python.news

    @invariant()
    def figures_are_the_same(self) -> None:
        accounts, tickets, pool = self.wait(self.redis.run(_DUMP, keys.queue_keys(POOL)))
        assert dict(map(_read, accounts)) == {
            **_organisations(self.python),
            **_tenants_of(self.python),
        }
        assert dict(map(_read, tickets)) == _tickets(self.python)
        if pool:
            assert _read(pool)[1][2:] == _pool(self.python)  # the first two are the epoch and who began it

    @invariant()
    def order_is_the_same(self) -> None:
        names = keys.queue_keys(POOL)
        read = [("ZRANGE", key, 0, -1, "WITHSCORES") for key in (*names[1:4], *names[6:9])]
        orgs, tenants, waiting, ends, owing, backlogs = [
            {name.decode(): int(float(score)) for name, score in found}
            for found in self.wait(self.redis.pipeline(read))
        ]
        queue = self.python
        assert orgs == {name: queue.organisations[name].counter for name in queue.ready}
        assert owing == {name: one.backlog for name, one in queue.organisations.items() if one.backlog}
        assert ends == queue.ends
        ready = [name for one in queue.organisations.values() for name in one.ready]
        assert set(tenants) == {
            _ordered(queue.tenants[name].organisation, queue.tenants[name].counter, name) for name in ready
        }
        owed = [(one.organisation, one.backlog, name) for name, one in queue.tenants.items() if one.backlog]
        assert set(backlogs) == {_ordered(*parts) for parts in owed}
        lines = [
            f"{len(name)}:{name}{place}{number:016}{ticket}"
            for name, one in queue.tenants.items()
            for place, number, ticket in one.line
        ]
        assert sorted(waiting) == sorted(lines)

    @invariant()
    def no_more_is_in_use_than_runs(self) -> None:
        running = [ticket.size for ticket in self.python.tickets.values() if ticket.granted_us]
        assert self.python.used == sum(running)
        assert self.python.waiting == len(self.python.tickets) - len(running)


def _read(flat: Sequence[bytes]) -> tuple[str, list[str]]:
    name, *values = [part.decode() for part in flat]
    return name, values


def _ordered(organisation: str, number: int, tenant: str) -> str:
    return f"{len(organisation)}:{organisation}{number:016}{tenant}"


def _texts(**fields: object) -> list[str]:
    """As they are stored, in this order."""
    return [str(value).lower() if isinstance(value, bool) else str(value) for value in fields.values()]


def _organisations(queue: Queue) -> dict[str, list[str]]:
    return {
        "o" + name: _texts(
            counter=one.counter,
            members=one.members,
            ready=len(one.ready),
            weights=one.weights,
            backlog=one.backlog,
            last=one.last,
            last_tenant=one.last_tenant,
        )
        for name, one in queue.organisations.items()
    }


def _tenants_of(queue: Queue) -> dict[str, list[str]]:
    return {
        "t" + name: _texts(
            org=one.organisation,
            weight=one.weight,
            most=one.most_running,
            seen=one.seen_us,
            counter=one.counter,
            rest=one.rest,
            running=one.running,
            waiting=len(one.line),
            backlog=one.backlog,
            ready=name in queue.organisations[one.organisation].ready,
        )
        for name, one in queue.tenants.items()
    }


def _tickets(queue: Queue) -> dict[str, list[str]]:
    return {
        name: [
            one.call.tenant,
            *map(
                str,
                (
                    one.call.priority,
                    one.call.input_tokens,
                    one.deadline_us,
                    one.size,
                    one.number,
                    one.backlog,
                    one.granted_us,
                    one.counted,
                ),
            ),
        ]
        for name, one in queue.tickets.items()
    }


def _pool(queue: Queue) -> list[str]:
    return _texts(
        used=queue.used,
        waiting=queue.waiting,
        number=queue.number,
        weights=queue.weights,
        last=queue.last,
        last_org=queue.last_organisation,
        limit=queue.room.limit,
        answered=queue.room.answered,
        cut=queue.room.cut_us,
        held=queue.room.held_until_us,
        calls=queue.measured.calls,
        hold=queue.measured.hold,
        ticks=queue.measured.ticks,
        charge=queue.measured.charge,
    )


def test_scripts_and_rules_of_the_queue_answer_alike(books_url: str, effort: float) -> None:
    class There(Both):
        url = books_url

    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        There,
        settings=settings(
            max_examples=int(60 * effort), stateful_step_count=40, deadline=None, suppress_health_check=slow
        ),
    )
