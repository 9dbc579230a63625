"""What the books promise beside the rules: they keep, they settle when full, they refuse what does not fit."""

import asyncio
import itertools

import pytest

from tenantry.kit.errors import FailedPrecondition, StoreUnavailable
from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.redis import Redis, connect
from tenantry.kit.usage import Usage
from tenantry.quota import keys
from tenantry.quota.entries import Ask, Cursor, Full, Held, Limits, OutboxFull, Refused, Renewed, Settled
from tenantry.quota.holds import Terms
from tenantry.quota.outbox_redis import RedisOutbox, check_books
from tenantry.quota.store_redis import RedisBooks
from tests.harness import stores
from tests.harness.demands import demand_of
from tests.harness.poll import until

LIMITS = Limits(600_000, 1_000, 6_000_000, 100_000, 50)
SHORT = Terms(hold_us=20_000, remember_us=50_000)


async def free_of(books: RedisBooks, owner: Tenant, limits: Limits = LIMITS) -> tuple[int, int, int]:
    """Requests and tokens that are free, and how many requests run."""
    [used] = await books.use(owner, demand_of(owner, limits))
    requests, tokens, running = (one.used for one in used)
    return limits.request_burst - requests, limits.token_burst - tokens, running


def ask_of(owner: Tenant, number: int, tokens: int = 10) -> Ask:
    return Ask(owner, f"res_{owner.id}_{number}", f"nonce-{number:010}", "key_1", "ann", "gpt", "req_1", tokens, 0)


def settled_of(ask: Ask, tokens: int = 5) -> Settled:
    return Settled(ask.reservation, ask.owner, ask.key_id, ask.end_user, False, 0, Usage(output_tokens=tokens))


async def test_of_many_that_come_at_once_exactly_the_limit_is_admitted(books_redis: Redis) -> None:
    owner, books = Tenant("rush-org", "rush"), RedisBooks(books_redis, Terms())
    asks = [ask_of(owner, number) for number in range(200)]
    answers = await asyncio.gather(*(books.reserve(owner, ask, demand_of(owner, LIMITS)) for ask in asks))
    assert sum(isinstance(answer, Held) for answer in answers) == 50
    assert all(
        answer == Refused((Full(0, "concurrent_requests", 50, 0),))
        for answer in answers
        if not isinstance(answer, Held)
    )


async def test_the_same_nonce_at_once_gets_the_same_hold_and_is_counted_once(books_redis: Redis) -> None:
    owner, books = Tenant("twin-org", "twin"), RedisBooks(books_redis, Terms())
    asks = [Ask(owner, f"res_twin_{number}", "n" * 16, "k", "", "m", "", 7, 0) for number in range(20)]
    answers = await asyncio.gather(*(books.reserve(owner, ask, demand_of(owner, LIMITS)) for ask in asks))
    assert len({answer.ask.reservation for answer in answers if isinstance(answer, Held)}) == 1
    assert (await free_of(books, owner))[2] == 1


async def test_a_hold_that_is_never_renewed_ends_by_the_timer_and_costs_nothing(books_redis: Redis) -> None:
    owner, books = Tenant("quiet-org", "quiet"), RedisBooks(books_redis, SHORT)
    ask = ask_of(owner, 1, 60_000)
    await books.reserve(owner, ask, demand_of(owner, LIMITS))
    assert await _entries(books_redis, owner, ask) == []

    async def ended() -> bool:
        await books.sweep(Platform())
        return (await free_of(books, owner))[2] == 0

    await until(ended)
    assert (await free_of(books, owner))[1] == 100_000
    assert await _entries(books_redis, owner, ask) == []


async def test_a_renewed_hold_is_settled_at_its_last_renewal_with_all_it_held(books_redis: Redis) -> None:
    owner, books = Tenant("gone-org", "gone"), RedisBooks(books_redis, SHORT)
    ask = ask_of(owner, 1, 60_000)
    held = await books.reserve(owner, ask, demand_of(owner, LIMITS))
    assert isinstance(held, Held)
    renewed = await books.renew(owner, ask.reservation, 0, None)
    assert isinstance(renewed, Renewed)
    renewed_us = renewed.ends_us - SHORT.hold_us

    async def ended() -> bool:
        await books.sweep(Platform())
        return bool(await _entries(books_redis, owner, ask))

    await until(ended)
    [entry] = await _entries(books_redis, owner, ask)
    assert (entry.estimated, entry.settled_us, entry.usage.input_tokens) == (True, renewed_us, 60_000)
    assert (entry.owner, entry.key_id, entry.end_user, entry.usage.model) == (owner, "key_1", "ann", "gpt")
    assert entry.usage.latency_ns == (renewed_us - held.reserved_us) * 1_000
    assert await books.commit(owner, "", settled_of(ask)) is True
    assert await books.commit(owner, "", settled_of(ask)) is False
    assert [entry.estimated for entry in await _entries(books_redis, owner, ask)] == [True, False]


@pytest.mark.parametrize("renewals", [0, 3])
async def test_a_hold_ends_with_its_term_from_its_last_renewal_and_no_timer_has_to_look(
    books_redis: Redis, renewals: int
) -> None:
    owner, books = Tenant("brief-org", f"brief-{renewals}"), RedisBooks(books_redis, SHORT)
    demand = demand_of(owner, Limits(600_000, 1_000, 6_000_000, 100_000, concurrent_requests=1))
    first, others = ask_of(owner, 0), (ask_of(owner, number) for number in itertools.count(1))
    held: Held | Renewed | Refused | OutboxFull | None = await books.reserve(owner, first, demand)
    for _ in range(renewals):
        held = await books.renew(owner, first.reservation, 0, None)
    assert isinstance(held, Held | Renewed)
    taken: list[Held] = []

    async def admits_another() -> bool:
        answer = await books.reserve(owner, next(others), demand)
        taken.extend([answer] if isinstance(answer, Held) else [])
        return bool(taken)

    await until(admits_another)
    assert taken[0].reserved_us >= held.ends_us
    assert await books.renew(owner, first.reservation, 0, None) is None


async def test_a_hold_settled_after_its_term_is_recorded_once_and_owed_whatever_is_said_later(
    books_redis: Redis,
) -> None:
    owner, books = Tenant("late-org", "late"), RedisBooks(books_redis, Terms(hold_us=20_000))
    ask, slow = (
        ask_of(owner, 1, 60_000),
        Limits(600_000, 1_000, 1, 100_000, 50),
    )  # a token a minute: none comes back meanwhile
    await books.reserve(owner, ask, demand_of(owner, slow))

    async def ended() -> bool:
        await books.sweep(Platform())
        return (await free_of(books, owner, slow))[2] == 0

    await until(ended)
    assert (await free_of(books, owner, slow))[1] == 100_000
    assert await books.commit(owner, "", settled_of(ask, 90_000)) is True
    for tokens in (90_000, 1, 500_000):
        assert (await free_of(books, owner, slow))[1] == 10_000
        assert await books.commit(owner, "", settled_of(ask, tokens)) is False
    assert await books.release(owner, ask.reservation) is False
    assert [one.usage.output_tokens for one in await _entries(books_redis, owner, ask)] == [90_000]


async def test_everything_that_ended_is_swept_from_every_bucket(books_redis: Redis) -> None:
    books = RedisBooks(books_redis, Terms(hold_us=1_000, remember_us=1_000, idle_us=1_000))
    owners = [Tenant(f"swept-org-{number}", f"swept-{number}") for number in range(40)]
    for owner in owners:
        assert isinstance(await books.reserve(owner, ask_of(owner, 1), demand_of(owner, LIMITS)), Held)

    async def empty() -> bool:
        await books.sweep(Platform())
        counters = [(keys.bucket_keys(keys.bucket_of(owner.organisation))[0], owner) for owner in owners]
        return not any(await books_redis.pipeline([("HGET", key, keys.counters_field(o)) for key, o in counters]))

    await until(empty)


async def test_forgetting_a_tenant_leaves_its_neighbours_and_what_waits_for_the_ledger(books_redis: Redis) -> None:
    books = RedisBooks(books_redis, Terms())
    wide = Limits(600_000, 1_000, 6_000_000, 100_000, 1_000)
    leaving, staying = Tenant("split-org", "leaving"), Tenant("split-org", "staying")
    for owner in (leaving, staying):
        for number in range(250 if owner == leaving else 3):
            await books.reserve(owner, ask_of(owner, number, 1), demand_of(owner, wide))
    first = ask_of(leaving, 0, 1)
    await books.commit(leaving, "", settled_of(first))
    assert await books.forget(leaving) == 249
    assert await books.forget(leaving) == 0
    assert (await free_of(books, leaving))[0] == 1_000
    assert (await free_of(books, staying))[2] == 3
    assert len(await _entries(books_redis, leaving, first)) == 1
    # A stream that was running when its tenant was deleted is settled all the same.
    running = ask_of(leaving, 1, 1)
    assert await books.commit(leaving, "", settled_of(running)) is True
    assert len(await _entries(books_redis, leaving, running)) == 1
    assert (await free_of(books, leaving))[1] == 100_000


async def test_a_commit_of_which_nothing_is_known_is_recorded_once(books_redis: Redis) -> None:
    owner, books = Tenant("lost-org", "lost"), RedisBooks(books_redis, Terms())
    ask = ask_of(owner, 1)
    assert await books.commit(owner, "", settled_of(ask)) is True
    assert await books.commit(owner, "", settled_of(ask)) is False
    assert len(await _entries(books_redis, owner, ask)) == 1


async def test_what_was_acknowledged_survives_a_kill(own_books: stores.RedisServer) -> None:
    owner = Tenant("kill-org", "kill")
    redis = connect(own_books.url, store="books")
    books = RedisBooks(redis, Terms())
    asks = [ask_of(owner, number) for number in range(20)]
    for ask in asks:
        await books.reserve(owner, ask, demand_of(owner, LIMITS))
    await asyncio.gather(*(books.commit(owner, "", settled_of(ask)) for ask in asks[:10]))
    own_books.kill()
    with pytest.raises(StoreUnavailable):
        await books.reserve(owner, ask_of(owner, 99), demand_of(owner, LIMITS))
    own_books.start()

    async def answers() -> bool:
        try:
            return (await free_of(books, owner))[2] == 10
        except StoreUnavailable:
            return False

    await until(answers)
    assert sum([len(await _entries(redis, owner, ask)) for ask in asks]) == 10
    await redis.close()


async def test_full_memory_refuses_new_holds_and_never_a_settlement(own_books: stores.RedisServer) -> None:
    owner = Tenant("full-org", "full")
    redis = connect(own_books.url, store="books")
    books = RedisBooks(redis, Terms())
    ask = ask_of(owner, 1)
    await books.reserve(owner, ask, demand_of(owner, LIMITS))
    await redis.execute("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(StoreUnavailable):
        await books.reserve(owner, ask_of(owner, 2), demand_of(owner, LIMITS))
    assert isinstance(await books.renew(owner, ask.reservation, 0, None), Renewed)
    assert await books.commit(owner, "", settled_of(ask)) is True
    assert len(await _entries(redis, owner, ask)) == 1
    await redis.close()


async def test_books_with_another_number_of_buckets_or_a_newer_schema_are_refused(
    own_books: stores.RedisServer,
) -> None:
    redis = connect(own_books.url, store="books")
    await check_books(redis)
    await check_books(redis)
    for field, value in (("buckets", "128"), ("version", "2")):
        before = await redis.execute("HGET", keys.schema_key(), field)
        await redis.execute("HSET", keys.schema_key(), field, value)
        with pytest.raises(FailedPrecondition):
            await check_books(redis)
        await redis.execute("HSET", keys.schema_key(), field, before)
    await redis.close()


async def test_a_redis_that_may_forget_is_refused(valkey_cache: str) -> None:
    redis = connect(valkey_cache, store="books")
    with pytest.raises(FailedPrecondition):
        await check_books(redis)
    await redis.close()


async def _entries(redis: Redis, owner: Tenant, ask: Ask) -> list[Settled]:
    """What waits in the outbox for the ask's reservation."""
    bucket = keys.bucket_of(owner.organisation)
    batches = await RedisOutbox(redis, set()).read(Platform(), [Cursor(bucket)])
    return [entry for batch in batches for entry in batch.entries if entry.reservation == ask.reservation]
