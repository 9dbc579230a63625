"""How calls are cut short, the same over the network and in a process: deadlines, cancellation from either side."""

import asyncio
import gc
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import aio

from tenantry.kit import call
from tenantry.kit.errors import DeadlineExceeded, Reason
from tenantry.kit.guard import Limits
from tests.harness.echo import EVERY_SHAPE, KINDS, Acts, Open, Use, Watched, acme, houses
from tests.harness.poll import until
from tests.harness.protos import echo_pb2 as pb

pytestmark = pytest.mark.parametrize("channel_kind", KINDS)
every_shape = pytest.mark.parametrize("use", EVERY_SHAPE)


@pytest.fixture
async def open_house(channel_kind: str) -> AsyncIterator[Open]:
    async with houses(channel_kind) as opener:
        yield opener


def text(value: str, count: int = 0) -> Any:
    return pb.EchoRequest(text=value, count=count)


@every_shape
async def test_a_deadline_ends_the_call_and_cancels_the_handler(open_house: Open, use: Use) -> None:
    watched = Watched()
    house = await open_house(watched.acts())
    began = time.monotonic()
    with call.entered(acme()), pytest.raises(DeadlineExceeded) as late:
        await use(house.stub, timeout=0.2)
    assert 0.15 < time.monotonic() - began < 2
    assert late.value.reason is Reason.DEADLINE
    await asyncio.wait_for(watched.ended.wait(), 2)
    await until(lambda: watched.callbacks == 1)


async def test_the_deadline_of_the_call_being_served_is_passed_down(open_house: Open) -> None:
    house = await open_house(Watched().acts())
    began = time.monotonic()
    with call.entered(acme(deadline=time.monotonic() + 0.2)), pytest.raises(DeadlineExceeded):
        await house.stub.Echo(text(""), timeout=20)
    assert time.monotonic() - began < 2


async def test_work_that_outlives_the_answer_has_no_deadline(open_house: Open) -> None:
    house = await open_house()
    with call.entered(acme(deadline=time.monotonic() - 1)):
        with pytest.raises(DeadlineExceeded):
            await house.stub.Echo(text(""))
        with call.detached():
            assert (await house.stub.Echo(text("late"))).text == "late"


async def test_the_server_ends_a_call_that_has_no_deadline(open_house: Open) -> None:
    watched = Watched()
    house = await open_house(watched.acts(), limits=Limits(call_s=0.1))
    with pytest.raises(aio.AioRpcError) as late:
        await house.raw("unary_unary", "Echo")(b"", metadata=((call.ASSERTION, "acme generate"),))
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert watched.ended.is_set()


@every_shape
async def test_cancelling_the_waiting_task_cancels_the_handler(open_house: Open, use: Use) -> None:
    watched = Watched()
    house = await open_house(watched.acts())
    with call.entered(acme()):
        waiting = asyncio.create_task(use(house.stub))
        await asyncio.wait_for(watched.began.wait(), 2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await asyncio.wait_for(watched.ended.wait(), 2)
    await until(lambda: watched.callbacks == 1)


async def test_a_call_can_be_cancelled_by_its_holder(open_house: Open) -> None:
    watched = Watched()
    house = await open_house(watched.acts())
    with call.entered(acme()):
        stream = house.stub.Chat()
        await stream.write(text("a"))
        assert (await stream.read()).text == "first"
        await asyncio.wait_for(watched.began.wait(), 2)
        assert stream.cancel()
        assert not stream.cancel()
        assert stream.cancelled()
        assert await stream.code() is grpc.StatusCode.CANCELLED
        with pytest.raises(asyncio.CancelledError):
            await stream.read()
    await asyncio.wait_for(watched.ended.wait(), 2)


async def test_a_unary_call_can_be_cancelled_by_its_holder(open_house: Open) -> None:
    watched = Watched()
    house = await open_house(watched.acts())
    with call.entered(acme()):
        sent = house.stub.Echo(text(""))
        waiting = asyncio.ensure_future(sent)
        await asyncio.wait_for(watched.began.wait(), 2)
        assert sent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await asyncio.wait_for(watched.ended.wait(), 2)


async def test_leaving_a_stream_early_cancels_its_handler(open_house: Open) -> None:
    watched = Watched()
    house = await open_house(watched.acts())
    with call.entered(acme()):
        async for answer in house.stub.EchoMany(text("")):
            assert answer.text == "first"
            break
    await until(lambda: _is_collected(watched), within_s=5, every_s=0.05, what="its handler's end")


async def test_dropping_a_stream_cancels_its_handler(open_house: Open) -> None:
    watched = Watched()
    house = await open_house(watched.acts())
    with call.entered(acme()):
        stream = house.stub.EchoMany(text(""))
        assert (await stream.read()).text == "first"
        await asyncio.wait_for(watched.began.wait(), 5)
        del stream

    await until(lambda: _is_collected(watched), within_s=5, every_s=0.05, what="its handler's end")


def _is_collected(watched: Watched) -> bool:
    gc.collect()  # what the last read left may hold the stream for a turn of the loop or two
    return watched.ended.is_set()


async def test_a_storm_of_cancelled_calls_leaves_nothing_behind(open_house: Open) -> None:
    """400 calls of every shape, cut at random moments: every handler ends, every seat is given back."""
    running = 0

    async def held(request: Any, context: Any) -> Any:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(dice.random() / 50)
            return pb.EchoResponse(text="x" * 1000)
        finally:
            running -= 1

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        for _ in range(10):
            yield await held(request, context)

    async def one(number: int) -> str:
        options = {"timeout": dice.random() / 20} if number % 3 == 0 else {}
        calling = asyncio.ensure_future(EVERY_SHAPE[number % 4](house.stub, **options))
        if number % 3 == 1:
            asyncio.get_running_loop().call_later(dice.random() / 20, calling.cancel)
        try:
            await calling
        except (DeadlineExceeded, asyncio.CancelledError) as cut:
            return type(cut).__name__
        return "answered"

    dice = random.Random(7)
    house = await open_house(Acts(held, stream, held, stream), limits=Limits(concurrent_calls=400))
    before = len(asyncio.all_tasks())
    with call.entered(acme()):
        ends = await asyncio.gather(*(one(number) for number in range(400)))
    assert set(ends) == {"answered", "DeadlineExceeded", "CancelledError"}
    gc.collect()
    await until(lambda: running == 0 and house.room.guard.running == 0)
    await until(lambda: len(asyncio.all_tasks()) <= before + 2)
    with call.entered(acme()):
        await house.stub.Echo(text(""))
