"""Attacks on the cache: to be served what another tenant, another caller or another end user was answered, or what nobody
stored."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tenantry.api.cache.v1 import cache_service_pb2 as pb
from tenantry.api.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import DeprovisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.kit.errors import Aborted, PermissionDenied, Unauthenticated
from tenantry.kit.redis import Redis
from tests.functional.cache.cache_room import ANSWER, HIT, LEAD, WAIT, Cache, key
from tests.harness.room import caller_of

SECRET = "the salary is 4711"


async def test_an_identical_question_of_another_tenant_is_a_miss(cache: Cache) -> None:
    await cache.fill(cache.acme, key(), SECRET)
    assert (await cache.look_up(cache.globex, key())).outcome == LEAD
    assert (await cache.look_up(cache.acme, key())).answer.text == SECRET


async def test_an_id_that_begins_or_ends_like_another_tenants_is_a_miss(cache: Cache) -> None:
    await cache.fill(cache.acme, key(), SECRET)
    for tenant in (cache.acme.tenant + "1", cache.acme.tenant[:-1], "x" + cache.acme.tenant):
        for organisation in (cache.acme.organisation, "another"):
            alike = replace(cache.acme, tenant=tenant, organisation=organisation)
            found = await cache.look_up(alike, key())
            assert found.outcome in {LEAD, WAIT} and not found.HasField("answer")


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ({"system": "a", "model": "bm"}, {"system": "ab", "model": "m"}),
        ({"system": "1:a", "locale": ""}, {"system": "", "locale": "1:a"}),
        ({"prompt": "p", "prompt_revision": 12}, {"prompt": "p1", "prompt_revision": 2}),
        ({"collections": ["a,b"]}, {"collections": ["a", "b"]}),
        ({"collections": ["a1:b"]}, {"collections": ["a", "b"]}),
        ({"collections": []}, {"collections": [""]}),
        ({"model_revision": "\x00"}, {"model_revision": ""}),
        ({"decoding": "t=0"}, {"embedder": "t=0"}),
        ({"personal": True}, {"personal": False}),
        ({"personal": True, "end_user": "ann"}, {"personal": True, "end_user": "ann "}),
        ({"question": "How long?"}, {"question": "How long? "}),
        ({"question": "caf\u00e9"}, {"question": "cafe\u0301"}),
    ],
)
async def test_delimiters_and_moved_boundaries_in_fields_are_a_miss(
    cache: Cache, stored: dict[str, Any], asked: dict[str, Any]
) -> None:
    first, second = (key(**({"question": "q"} | fields)) for fields in (stored, asked))
    await cache.fill(cache.acme, first, SECRET)
    assert (await cache.look_up(cache.acme, second)).outcome == LEAD


@pytest.mark.parametrize(
    "limits",
    [
        {"collections": ("public",)},
        {"collections": ("handbook",)},
        {"collections": ("handbook", "salaries", "more")},
        {"collections": ("handbook,salaries",)},
        {"models": ("m",)},
    ],
)
async def test_a_caller_who_may_see_other_things_misses(cache: Cache, limits: dict[str, Any]) -> None:
    wide = replace(cache.acme, collections=("handbook", "salaries"))
    narrow = replace(wide, key_id="key_2", principal="key_2", **limits)
    await cache.fill(wide, key(), SECRET)
    assert (await cache.look_up(narrow, key())).outcome == LEAD
    colleague = replace(wide, key_id="key_3", principal="key_3", collections=("salaries", "handbook"))
    assert (await cache.look_up(colleague, key())).outcome == HIT


@pytest.mark.parametrize(
    ("who", "end_user"), [({}, "bob"), ({}, ""), ({"key_id": "key_2"}, "ann"), ({"principal": "ann"}, "ann")]
)
async def test_a_personal_answer_is_found_by_the_same_caller_and_end_user_alone(
    cache: Cache, who: dict[str, Any], end_user: str
) -> None:
    await cache.fill(cache.acme, key(personal=True, end_user="ann"), SECRET)
    found = await cache.look_up(replace(cache.acme, **who), key(personal=True, end_user=end_user))
    assert found.outcome == LEAD
    assert (await cache.look_up(cache.acme, key())).outcome == LEAD
    assert (await cache.look_up(cache.acme, key(personal=True, end_user="ann"))).outcome == HIT


async def entry_key(redis: Redis, tenant: str) -> bytes:
    """Where the tenant's only entry is."""
    (found,) = [one async for one in redis.scan(f"*:entry:*{tenant}*")]
    return found


async def fields_of(redis: Redis, key: bytes) -> dict[bytes, bytes]:
    return await redis.execute("HGETALL", key)


async def change(redis: Redis, key: bytes, field: str, value: bytes) -> None:
    await redis.execute("HSET", key, field, value)


async def garbage_answer(redis: Redis, key: bytes) -> None:
    await change(redis, key, "a", b"\xff\xff garbage")


async def another_answer(redis: Redis, key: bytes) -> None:
    await change(redis, key, "a", pb.CachedAnswer(text="pay to this account").SerializeToString())


async def no_mac(redis: Redis, key: bytes) -> None:
    await redis.execute("HDEL", key, "m")


async def empty_mac(redis: Redis, key: bytes) -> None:
    await change(redis, key, "m", b"")


async def short_mac(redis: Redis, key: bytes) -> None:
    await change(redis, key, "m", (await fields_of(redis, key))[b"m"][:16])


async def newer_epoch(redis: Redis, key: bytes) -> None:
    await change(redis, key, "e", b"999")


async def epoch_that_is_no_number(redis: Redis, key: bytes) -> None:
    await change(redis, key, "e", b"nan")


async def another_type(redis: Redis, key: bytes) -> None:
    await redis.execute("SET", key, b"garbage")


async def only_one_field(redis: Redis, key: bytes) -> None:
    await redis.execute("HDEL", key, "g", "m", "e", "h")


@pytest.mark.parametrize(
    "poison",
    [
        garbage_answer,
        another_answer,
        no_mac,
        empty_mac,
        short_mac,
        newer_epoch,
        epoch_that_is_no_number,
        another_type,
        only_one_field,
    ],
)
async def test_a_poisoned_entry_is_a_miss_and_is_replaced(
    cache: Cache, redis: Redis, poison: Callable[[Redis, bytes], Awaitable[None]]
) -> None:
    await cache.fill(cache.acme, key())
    await poison(redis, await entry_key(redis, cache.acme.tenant))
    led = await cache.look_up(cache.acme, key())
    assert led.outcome == LEAD and not led.HasField("answer")
    await cache.store(cache.acme, key(), led.handle)
    assert (await cache.look_up(cache.acme, key())).answer == ANSWER


async def test_another_tenants_entry_copied_into_ones_own_place_is_a_miss(cache: Cache, redis: Redis) -> None:
    await cache.fill(cache.acme, key(), SECRET)
    await cache.fill(cache.globex, key(), "mine")
    secret = await fields_of(redis, await entry_key(redis, cache.acme.tenant))
    mine = await entry_key(redis, cache.globex.tenant)
    for field in (b"m", b"e", b"a"):
        await change(redis, mine, field.decode(), secret[field])
    assert (await cache.look_up(cache.globex, key())).outcome == LEAD


async def test_one_who_waits_is_not_served_a_poisoned_entry(cache: Cache, redis: Redis) -> None:
    await cache.fill(cache.acme, key("another"))
    entry = await entry_key(redis, cache.acme.tenant)
    poison = [part for pair in (await fields_of(redis, entry)).items() for part in pair]
    led = await cache.look_up(cache.acme, key())
    place = await cache.look_up(cache.acme, key())
    (flight,) = [one async for one in redis.scan(f"*:flight:*{cache.acme.tenant}*")]
    await redis.execute("HSET", flight.replace(b":flight:", b":entry:"), *poison)
    waited = await cache.wait(cache.acme, key(), place.handle, timeout_s=0.3)
    assert waited.outcome == WAIT and not waited.HasField("answer")
    await cache.store(cache.acme, key(), led.handle)
    assert (await cache.wait(cache.acme, key(), place.handle)).answer == ANSWER


async def test_what_is_stored_tells_nothing_of_a_question_and_no_key_names_it(cache: Cache, redis: Redis) -> None:
    await cache.fill(cache.acme, key("canary-question", system="canary-system"))
    for one in [one async for one in redis.scan(f"*{cache.acme.tenant}*")]:
        kind = (await redis.execute("TYPE", one)).decode()
        value = await redis.execute(*{"hash": ("HGETALL", one), "string": ("GET", one)}[kind])
        assert "canary" not in repr((one, value))


async def test_a_handle_of_another_tenant_is_no_right(cache: Cache) -> None:
    led = await cache.look_up(cache.acme, key())
    await cache.look_up(cache.globex, key())
    for caller, its_key in ((cache.globex, key()), (cache.acme, key("another"))):
        with pytest.raises(Aborted):
            await cache.store(caller, its_key, led.handle, pb.CachedAnswer(text="poison"))
        with pytest.raises(Aborted):
            await cache.renew(caller, its_key, led.handle)
        await cache.abandon(caller, its_key, led.handle)
    assert (await cache.look_up(cache.globex, key())).outcome == WAIT
    await cache.store(cache.acme, key(), led.handle)
    assert (await cache.look_up(cache.acme, key())).answer == ANSWER


async def test_a_place_in_the_wait_is_no_right_to_store(cache: Cache) -> None:
    led = await cache.look_up(cache.acme, key())
    place = await cache.look_up(cache.acme, key())
    assert place.outcome == WAIT and place.handle != led.handle
    for handle in (place.handle, "0" * 32):
        with pytest.raises(Aborted):
            await cache.store(cache.acme, key(), handle, pb.CachedAnswer(text="poison"))
        with pytest.raises(Aborted):
            await cache.renew(cache.acme, key(), handle)
        await cache.abandon(cache.acme, key(), handle)
    await cache.store(cache.acme, key(), led.handle)


async def test_invalidating_and_counting_are_about_ones_own_tenant_alone(cache: Cache) -> None:
    await cache.fill(cache.acme, key(), SECRET)
    await cache.invalidate(cache.globex)
    assert await cache.stats(cache.globex) == (0, 0, 0, 0)
    assert (await cache.look_up(cache.acme, key())).outcome == HIT


MESH: dict[str, Any] = {
    "LookupEntry": pb.LookupEntryRequest(key=key()),
    "AwaitEntry": pb.AwaitEntryRequest(key=key(), handle="0" * 32),
    "StoreEntry": pb.StoreEntryRequest(key=key(), handle="0" * 32, answer=ANSWER),
    "RenewFlight": pb.RenewFlightRequest(key=key(), handle="0" * 32),
    "AbandonFlight": pb.AbandonFlightRequest(key=key(), handle="0" * 32),
}


@pytest.mark.parametrize("rpc", MESH)
async def test_a_tenants_key_or_another_service_that_calls_the_gateways_rpcs_is_refused(cache: Cache, rpc: str) -> None:
    every_scope = replace(cache.acme, scopes=frozenset({"cache.read", "cache.write", "generate", "tenants.write"}))
    with cache.room.calling(every_scope):
        with pytest.raises(Unauthenticated):
            await getattr(cache.outside, rpc)(MESH[rpc])
        for service in ("retrieval", "tenancy", "cache"):
            with pytest.raises(PermissionDenied):
                await getattr(CacheServiceStub(cache.room.channel(service=service)), rpc)(MESH[rpc])
    with cache.room.calling(None), pytest.raises(Unauthenticated):
        await getattr(cache.stub, rpc)(MESH[rpc])


@pytest.mark.parametrize("scopes", [set[str](), {"cache.read"}, {"generate"}])
async def test_invalidating_needs_its_scope(cache: Cache, scopes: set[str]) -> None:
    caller = caller_of(cache.acme.tenant, cache.acme.organisation, scopes=scopes)
    with pytest.raises(PermissionDenied):
        await cache.invalidate(caller)
    if "cache.read" not in scopes:
        with pytest.raises(PermissionDenied):
            await cache.stats(caller)


async def test_offboarding_by_anybody_but_tenancy_is_refused(cache: Cache) -> None:
    await cache.fill(cache.acme, key())
    request = DeprovisionTenantRequest(tenant=cache.acme.tenant, organisation=cache.acme.organisation)
    with cache.room.calling(cache.globex), pytest.raises(Unauthenticated):
        await LifecycleServiceStub(cache.room.channel()).DeprovisionTenant(request)
    with pytest.raises(PermissionDenied):
        await LifecycleServiceStub(cache.room.channel(service="gateway")).DeprovisionTenant(request)
    assert (await cache.look_up(cache.acme, key())).outcome == HIT
