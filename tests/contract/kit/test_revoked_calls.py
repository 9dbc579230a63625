"""Calls of callers who were revoked, or of whom nothing is known any more: refused when new, cut when they run."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tenantry.kit import call
from tenantry.kit.errors import FailedPrecondition, Reason, TenantryError, Unauthenticated, Unavailable
from tenantry.kit.revocations import MAX_AGE_S, Revocation, Revocations
from tests.harness.clock import FrozenClock
from tests.harness.echo import EVERY_SHAPE, KINDS, Acts, Open, Use, Watched, acme, caller_of, houses, use_unary
from tests.harness.poll import until
from tests.harness.protos import echo_pb2 as pb

pytestmark = pytest.mark.parametrize("channel_kind", KINDS)
every_shape = pytest.mark.parametrize("use", EVERY_SHAPE)
# The written proofs' callers have the key 1, and everything at generation 0.
KEY = Revocation("api-key", "1", 1)
TENANT = Revocation("tenant", "acme", 1, "SUSPENDED")


@pytest.fixture
async def open_house(channel_kind: str) -> AsyncIterator[Open]:
    async with houses(channel_kind) as opener:
        yield opener


@pytest.fixture
def known(clock: FrozenClock) -> Revocations:
    revocations = Revocations(clock)
    revocations.confirm(clock.monotonic())
    return revocations


async def _running(house: Any, use: Use, watched: Watched) -> "asyncio.Task[None]":
    with call.entered(acme()):
        running = asyncio.create_task(use(house.stub))
    await asyncio.wait_for(watched.began.wait(), 5)
    return running


@every_shape
async def test_a_running_call_of_a_revoked_key_is_cut(open_house: Open, known: Revocations, use: Use) -> None:
    watched = Watched()
    house = await open_house(watched.acts(), revocations=known)
    running = await _running(house, use, watched)
    known.enter([KEY])
    with pytest.raises(Unauthenticated) as refused:
        await asyncio.wait_for(running, 5)
    assert refused.value.reason is Reason.CREDENTIAL_INVALID
    await asyncio.wait_for(watched.ended.wait(), 5)
    with call.entered(acme()), pytest.raises(Unauthenticated):
        await use(house.stub)


@every_shape
async def test_a_running_call_of_a_suspended_tenant_is_cut(open_house: Open, known: Revocations, use: Use) -> None:
    watched = Watched()
    house = await open_house(watched.acts(), revocations=known)
    running = await _running(house, use, watched)
    known.enter([TENANT])
    with pytest.raises(FailedPrecondition) as refused:
        await asyncio.wait_for(running, 5)
    assert (refused.value.reason, refused.value.metadata) == (Reason.TENANT_NOT_ACTIVE, {"state": "SUSPENDED"})


@every_shape
async def test_on_old_word_a_running_call_is_cut_and_none_begins(
    open_house: Open, known: Revocations, clock: FrozenClock, use: Use
) -> None:
    watched = Watched()
    house = await open_house(watched.acts(), revocations=known)
    running = await _running(house, use, watched)
    aging = asyncio.create_task(known.watch_age())
    await until(lambda: clock.sleepers == 1)
    clock.advance(MAX_AGE_S + 0.002)
    with call.entered(acme()), pytest.raises(Unavailable) as refused:
        await use(house.stub, timeout=0.5)  # a longer wait would be one for the retry
    assert refused.value.retry_after_s == 1.0
    with pytest.raises(Unavailable):
        await asyncio.wait_for(running, 5)
    aging.cancel()


async def test_an_answer_that_was_made_while_the_word_grew_old_is_kept_back(
    open_house: Open, known: Revocations, clock: FrozenClock
) -> None:
    async def once(request: Any, context: Any) -> Any:
        clock.advance(MAX_AGE_S + 1)  # the process stood still; nobody has been told yet
        return pb.EchoResponse(text="late")

    house = await open_house(Acts(once), revocations=known)
    with call.entered(acme()), pytest.raises(Unavailable):
        await house.stub.EchoOnce(pb.EchoRequest(), timeout=0.5)


async def test_others_are_served_on(open_house: Open, known: Revocations) -> None:
    watched = Watched()
    house = await open_house(watched.acts(), revocations=known)
    running = await _running(house, use_unary, watched)
    known.enter([replace(KEY, id="2"), replace(TENANT, id="globex"), replace(KEY, generation=0)])
    await asyncio.sleep(0.05)
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize("method", ["Settle", "Gossip"])
async def test_what_rests_on_a_receipt_or_a_service_is_done_whatever_became_of_the_caller(
    open_house: Open, known: Revocations, clock: FrozenClock, method: str
) -> None:
    house = await open_house(revocations=known)
    known.enter([KEY, TENANT])
    clock.advance(MAX_AGE_S + 1)
    with call.entered(acme()):
        assert (await getattr(house.stub, method)(pb.EchoRequest(text="settled"))).text == "settled"


async def test_a_call_on_behalf_of_a_revoked_caller_is_refused_too(open_house: Open, known: Revocations) -> None:
    house = await open_house(revocations=known)
    known.enter([KEY])
    with call.entered(acme()), pytest.raises(Unauthenticated):
        await house.stub.Assist(pb.EchoRequest())


async def test_a_revoked_caller_without_the_right_hears_the_same_as_one_with_it(
    open_house: Open, known: Revocations
) -> None:
    house = await open_house(revocations=known)
    known.enter([KEY])
    assertion = "acme"
    with call.entered(call.Call(caller_of(assertion), assertion=assertion)), pytest.raises(TenantryError) as refused:
        await house.stub.EchoOnce(pb.EchoRequest())
    assert refused.value.reason is Reason.CREDENTIAL_INVALID


async def test_a_feed_of_a_process_to_itself_lasts_until_its_last_call_has_ended(
    open_house: Open, channel_kind: str
) -> None:
    end = asyncio.Event()

    async def once(request: Any, context: Any) -> Any:
        await end.wait()
        return pb.EchoResponse(text="ended")

    watched = Watched()
    acts = watched.acts()
    acts.once = once
    house = await open_house(acts)
    feed = house.stub.Feed(pb.EchoRequest())
    await feed.read()
    with call.entered(acme()):
        running = asyncio.ensure_future(house.stub.EchoOnce(pb.EchoRequest()))
        await until(lambda: house.room.guard.running == (2 if channel_kind == "network" else 1))
    draining = asyncio.ensure_future(house.listener.drain(5))
    await asyncio.sleep(0.1)
    assert watched.ended.is_set() is (channel_kind == "network")
    end.set()
    assert (await running).text == "ended"
    await asyncio.wait_for(draining, 3)
    assert watched.ended.is_set()
    with pytest.raises(Unavailable):
        await feed.read()
