"""CacheService as the gateway and a tenant see it."""

import asyncio
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tenantry.api.cache.v1 import cache_service_pb2 as pb
from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import DeprovisionTenantRequest, ProvisionTenantRequest
from tenantry.kit.caller import Caller
from tenantry.kit.errors import Aborted, InvalidArgument, PermissionDenied, Reason, ResourceExhausted, Unavailable
from tests.functional.cache.cache_room import ANSWER, HIT, LEAD, WAIT, Cache, key, serve
from tests.harness.poll import until
from tests.harness.room import caller_of
from tests.harness.stores import RedisServer


async def test_the_first_look_up_leads_and_what_it_stores_is_found(cache: Cache) -> None:
    led = await cache.look_up(cache.acme, key())
    assert led.outcome == LEAD
    assert led.handle
    assert 0 < led.expire_time.seconds - time.time() < 60
    await cache.store(cache.acme, key(), led.handle, epoch=41)
    hit = await cache.look_up(cache.acme, key())
    assert (hit.outcome, hit.answer, hit.documents_epoch, hit.handle) == (HIT, ANSWER, 41, "")


async def test_of_fifty_one_leads_and_all_get_its_answer(cache: Cache) -> None:
    found = await asyncio.gather(*(cache.look_up(cache.acme, key()) for _ in range(50)))
    leaders = [one for one in found if one.outcome == LEAD]
    places = [one for one in found if one.outcome == WAIT]
    assert (len(leaders), len(places)) == (1, 49)
    waits = [asyncio.create_task(cache.wait(cache.acme, key(), one.handle)) for one in places]
    assert (await cache.renew(cache.acme, key(), leaders[0].handle)).waiting == 49
    await cache.store(cache.acme, key(), leaders[0].handle)
    assert all(one.outcome == HIT and one.answer == ANSWER for one in await asyncio.gather(*waits))
    assert (await cache.look_up(cache.acme, key())).outcome == HIT
    assert await cache.stats(cache.acme) == (1, 1, 49, 1)


async def test_replicas_share_flights_and_answers(valkey_cache: str, tmp_path: Path) -> None:
    async with (
        aclosing(serve(valkey_cache, tmp_path, "inprocess")) as one,
        aclosing(serve(valkey_cache, tmp_path, "network")) as other,
    ):
        here, there = await anext(one), await anext(other)
        led = await here.look_up(here.acme, key())
        place = await there.look_up(here.acme, key())
        assert (led.outcome, place.outcome) == (LEAD, WAIT)
        wait = asyncio.create_task(there.wait(here.acme, key(), place.handle))
        await here.store(here.acme, key(), led.handle)
        assert (await wait).answer == ANSWER


async def test_when_the_leader_abandons_the_next_leads(cache: Cache) -> None:
    led = await cache.look_up(cache.acme, key())
    places = [await cache.look_up(cache.acme, key()) for _ in range(2)]
    waits = [asyncio.create_task(cache.wait(cache.acme, key(), one.handle)) for one in places]
    became = await cache.abandon(cache.acme, key(), led.handle)
    assert (became.abandoned, became.waiting) == (True, 2)
    done, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(rest)) == (1, 1)
    next_lead = done.pop().result()
    assert next_lead.outcome == LEAD
    await cache.store(cache.acme, key(), next_lead.handle)
    assert (await rest.pop()).outcome == HIT


async def test_a_flight_is_kept_only_while_somebody_waits(cache: Cache) -> None:
    led = await cache.look_up(cache.acme, key())
    place = await cache.look_up(cache.acme, key())
    kept = await cache.abandon(cache.acme, key(), led.handle, keep_if_awaited=True)
    assert (kept.abandoned, kept.waiting) == (False, 1)
    wait = asyncio.create_task(cache.wait(cache.acme, key(), place.handle))
    assert await asyncio.wait((wait,), timeout=0.2) == (set(), {wait})
    wait.cancel()

    async def alone() -> bool:
        return (await cache.renew(cache.acme, key(), led.handle)).waiting == 0

    await until(alone, 2.0, what="the cancelled wait gives its place up, and it")
    ended = await cache.abandon(cache.acme, key(), led.handle, keep_if_awaited=True)
    assert (ended.abandoned, ended.waiting) == (True, 0)
    assert (await cache.look_up(cache.acme, key())).outcome == LEAD


async def test_a_dead_leaders_flight_ends_and_the_next_leads(hasty_cache: Cache) -> None:
    cache = hasty_cache
    led = await cache.look_up(cache.acme, key())
    place = await cache.look_up(cache.acme, key())
    next_lead = await cache.wait(cache.acme, key(), place.handle)
    assert next_lead.outcome == LEAD
    with pytest.raises(Aborted) as lost:
        await cache.store(cache.acme, key(), led.handle)
    assert lost.value.reason == Reason.HANDLE_LOST
    with pytest.raises(Aborted):
        await cache.renew(cache.acme, key(), led.handle)
    assert (await cache.abandon(cache.acme, key(), led.handle)).abandoned is True
    await cache.store(cache.acme, key(), next_lead.handle)
    assert (await cache.look_up(cache.acme, key())).outcome == HIT


async def test_a_renewed_flight_goes_on_past_its_first_end(hasty_cache: Cache) -> None:
    cache = hasty_cache
    led = await cache.look_up(cache.acme, key())
    first_end = led.expire_time.ToMilliseconds()

    async def renewed() -> bool:
        return (await cache.renew(cache.acme, key(), led.handle)).expire_time.ToMilliseconds() > first_end + 300

    await until(renewed, every_s=0.05)
    await cache.store(cache.acme, key(), led.handle)


async def test_a_wait_ends_with_its_time_and_may_be_taken_up_again(cache: Cache) -> None:
    led = await cache.look_up(cache.acme, key())
    place = await cache.look_up(cache.acme, key())
    started = time.monotonic()
    waited = await cache.wait(cache.acme, key(), place.handle, timeout_s=0.3)
    assert (waited.outcome, waited.handle) == (WAIT, place.handle)
    assert time.monotonic() - started < 0.3
    await cache.store(cache.acme, key(), led.handle)
    assert (await cache.wait(cache.acme, key(), place.handle)).outcome == HIT


async def test_more_than_may_wait_are_refused(hasty_cache: Cache) -> None:
    cache = hasty_cache
    await cache.look_up(cache.acme, key())
    for _ in range(3):
        assert (await cache.look_up(cache.acme, key())).outcome == WAIT
    with pytest.raises(ResourceExhausted) as refused:
        await cache.look_up(cache.acme, key())
    assert refused.value.reason == Reason.SERVER_BUSY


async def test_storing_twice_is_the_same_as_once(cache: Cache) -> None:
    led = await cache.look_up(cache.acme, key())
    await cache.store(cache.acme, key(), led.handle)
    await cache.store(cache.acme, key(), led.handle)
    assert await cache.stats(cache.acme) == (0, 1, 0, 1)


async def test_an_entry_of_a_lower_epoch_is_replaced(cache: Cache) -> None:
    await cache.fill(cache.acme, key(), epoch=5)
    assert (await cache.look_up(cache.acme, key(), documents_epoch=5)).documents_epoch == 5
    stale = await cache.look_up(cache.acme, key(), documents_epoch=6)
    assert stale.outcome == LEAD
    await cache.store(cache.acme, key(), stale.handle, epoch=6)
    assert (await cache.look_up(cache.acme, key(), documents_epoch=6)).outcome == HIT


async def test_an_entry_ends_with_its_ttl(cache: Cache) -> None:
    led = await cache.look_up(cache.acme, key())
    request = pb.StoreEntryRequest(key=key(), handle=led.handle, answer=ANSWER, ttl=Duration(seconds=1))
    with cache.room.calling(cache.acme):
        await cache.stub.StoreEntry(request)
    assert (await cache.look_up(cache.acme, key())).outcome == HIT

    async def gone() -> bool:
        return (await cache.look_up(cache.acme, key())).outcome != HIT

    await until(gone, 3.0, every_s=0.1)


async def test_invalidated_entries_are_not_found_and_a_flight_begun_before_is_lost(cache: Cache) -> None:
    await cache.fill(cache.acme, key("stored"))
    await cache.fill(cache.globex, key("stored"))
    led = await cache.look_up(cache.acme, key("under way"))
    await cache.invalidate(cache.acme)
    with pytest.raises(Aborted):
        await cache.store(cache.acme, key("under way"), led.handle)
    assert (await cache.look_up(cache.acme, key("stored"))).outcome == LEAD
    assert (await cache.look_up(cache.acme, key("under way"))).outcome == LEAD
    assert (await cache.look_up(cache.globex, key("stored"))).outcome == HIT


async def test_a_tenant_that_is_offboarded_leaves_nothing_to_find(cache: Cache) -> None:
    tenant = {"tenant": cache.acme.tenant, "organisation": cache.acme.organisation}
    assert (await cache.lifecycle.ProvisionTenant(ProvisionTenantRequest(**tenant, tier="pro"))).did == "nothing to do"
    await cache.fill(cache.acme, key())
    first = await cache.lifecycle.DeprovisionTenant(DeprovisionTenantRequest(**tenant))
    again = await cache.lifecycle.DeprovisionTenant(DeprovisionTenantRequest(**tenant))
    assert (first.did, again.did) == ("dropped the cached answers", "nothing to do")
    assert await cache.stats(cache.acme) == (0, 0, 0, 0)
    assert (await cache.look_up(cache.acme, key())).outcome == LEAD


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"question": ""}, "key.question"),
        ({"model": ""}, "key.model"),
        ({"question": "x" * 300_000}, "key.question"),
        ({"locale": "ä" * 300}, "key.locale"),
        ({"collections": ["a"] * 300}, "key.collections"),
        ({"collections": ["a" * 600]}, "key.collections"),
        ({"passages": -1}, "key.passages"),
        ({"end_user": "ann"}, "key.end_user"),
    ],
)
async def test_a_key_out_of_bounds_is_refused_by_its_field(cache: Cache, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await cache.look_up(cache.acme, key(**fields))
    assert [name for name, _ in refused.value.violations] == [field]


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        (pb.CachedAnswer(), "answer.text"),
        (pb.CachedAnswer(text="x" * (1024 * 1024 + 1)), "answer.text"),
        (pb.CachedAnswer(text="x", citations=b"x" * (256 * 1024 + 1)), "answer.citations"),
        (pb.CachedAnswer(text="x", provider="p" * 600), "answer.provider"),
        (pb.CachedAnswer(text="x", input_tokens=-1), "answer.input_tokens"),
    ],
)
async def test_an_answer_out_of_bounds_is_refused_by_its_field(
    cache: Cache, answer: pb.CachedAnswer, field: str
) -> None:
    led = await cache.look_up(cache.acme, key())
    with pytest.raises(InvalidArgument) as refused:
        await cache.store(cache.acme, key(), led.handle, answer)
    assert [name for name, _ in refused.value.violations] == [field]


@pytest.mark.parametrize(
    "ttl",
    [Duration(), Duration(nanos=999_000_000), Duration(seconds=604_801), Duration(seconds=-5), Duration(nanos=-1)],
)
async def test_a_ttl_out_of_range_is_refused(cache: Cache, ttl: Duration) -> None:
    led = await cache.look_up(cache.acme, key())
    request = pb.StoreEntryRequest(key=key(), handle=led.handle, answer=ANSWER, ttl=ttl)
    with cache.room.calling(cache.acme), pytest.raises(InvalidArgument) as refused:
        await cache.stub.StoreEntry(request)
    assert [name for name, _ in refused.value.violations] == ["ttl"]


async def test_the_largest_answer_comes_back_whole(cache: Cache) -> None:
    answer = pb.CachedAnswer(text="x" * 1024 * 1024, citations=b"\x00" * 256 * 1024)
    led = await cache.look_up(cache.acme, key("q" * 256 * 1024))
    await cache.store(cache.acme, key("q" * 256 * 1024), led.handle, answer)
    assert (await cache.look_up(cache.acme, key("q" * 256 * 1024))).answer == answer


@pytest.mark.parametrize("handle", ["", "x", "0" * 31, "0" * 33, "A" * 32, "0" * 32 + "\n"])
async def test_a_handle_of_another_form_is_refused(cache: Cache, handle: str) -> None:
    for call in (cache.wait, cache.store, cache.renew, cache.abandon):
        with pytest.raises(InvalidArgument) as refused:
            await call(cache.acme, key(), handle)
        assert [name for name, _ in refused.value.violations] == ["handle"]


@pytest.mark.parametrize("caller", [caller_of("", "acme-org"), caller_of("", "")])
async def test_a_caller_without_a_tenant_has_no_cache(cache: Cache, caller: Caller) -> None:
    with pytest.raises(PermissionDenied):
        await cache.look_up(caller, key())


async def test_without_its_redis_it_starts_and_says_so_at_once_and_serves_when_it_comes(
    cache_on_own_redis: Cache, own_redis: RedisServer
) -> None:
    cache = cache_on_own_redis
    started = time.monotonic()
    with pytest.raises(Unavailable) as away:
        await cache.look_up(cache.acme, key())
    assert away.value.reason == Reason.STORE_UNAVAILABLE
    assert time.monotonic() - started < 1.0
    own_redis.start()
    await cache.fill(cache.acme, key())
    own_redis.kill()
    with pytest.raises(Unavailable):
        await cache.look_up(cache.acme, key())
    own_redis.start()
    assert (await cache.look_up(cache.acme, key())).outcome == LEAD


async def test_those_who_wait_are_told_when_redis_goes(cache_on_own_redis: Cache, own_redis: RedisServer) -> None:
    cache = cache_on_own_redis
    own_redis.start()
    await cache.look_up(cache.acme, key())
    place = await cache.look_up(cache.acme, key())
    wait = asyncio.create_task(cache.wait(cache.acme, key(), place.handle))
    own_redis.kill()
    with pytest.raises(Unavailable):
        await wait
