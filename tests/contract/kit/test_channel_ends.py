"""How calls end, the same over the network and in a process: errors, deadlines, cancellation, back-pressure."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from tenantry.kit import call
from tenantry.kit.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
    TenantryError,
    Unavailable,
)
from tenantry.kit.exchange import PIPE_MESSAGES
from tenantry.kit.guard import Limits
from tenantry.kit.status import DETAILS
from tests.harness.echo import KINDS, Acts, Open, acme, houses
from tests.harness.poll import until
from tests.harness.protos import echo_pb2 as pb

pytestmark = pytest.mark.parametrize("channel_kind", KINDS)
REFUSAL = ResourceExhausted(
    Reason.TOKENS_PER_MINUTE,
    "the tenant's tokens/min are used up",
    retry_after_s=1.5,
    violations=[("tenant:acme", "1000 tokens/min")],
    limit="tokens_per_minute",
)


@pytest.fixture
async def open_house(channel_kind: str) -> AsyncIterator[Open]:
    async with houses(channel_kind) as opener:
        yield opener


def text(value: str, count: int = 0) -> Any:
    return pb.EchoRequest(text=value, count=count)


def raising(error: Exception) -> Acts:
    """Every shape fails with `error`; the streams after one response."""

    async def once(request: Any, context: Any) -> Any:
        raise error

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        yield pb.EchoResponse(text="first")
        raise error

    return Acts(once, stream, once, stream)


class Watched:
    """A handler's fate: that it began, and with what it ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.callbacks = 0

    async def once(self, request: Any, context: Any) -> Any:
        def done(_: Any) -> None:
            self.callbacks += 1

        context.add_done_callback(done)
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def many(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield pb.EchoResponse(text="first")
        await self.once(request, context)

    def acts(self) -> Acts:
        return Acts(self.once, self.many, self.once, self.many)


async def use_unary(stub: Any, **options: Any) -> None:
    await stub.Echo(text(""), **options)


async def use_many(stub: Any, **options: Any) -> None:
    async for _ in stub.EchoMany(text(""), **options):
        pass


async def use_collect(stub: Any, **options: Any) -> None:
    await stub.Collect(iter([text("a")]), **options)


async def use_chat(stub: Any, **options: Any) -> None:
    async for _ in stub.Chat(iter([text("a")]), **options):
        pass


every_shape = pytest.mark.parametrize("use", [use_unary, use_many, use_collect, use_chat])
Use = Callable[..., Any]


@every_shape
async def test_a_refusal_arrives_as_it_was_raised(open_house: Open, use: Use) -> None:
    house = await open_house(raising(REFUSAL))
    with call.entered(acme()), pytest.raises(ResourceExhausted) as refused:
        await use(house.stub)
    error = refused.value
    assert (error.reason, error.message, error.metadata) == (REFUSAL.reason, REFUSAL.message, REFUSAL.metadata)
    assert (error.retry_after_s, error.violations) == (1.5, REFUSAL.violations)


async def test_what_was_streamed_before_an_error_arrives_first(open_house: Open) -> None:
    house = await open_house(raising(NotFound(Reason.NOT_FOUND, "gone")))
    got: list[str] = []
    with call.entered(acme()), pytest.raises(NotFound):
        async for answer in house.stub.EchoMany(text("")):
            got.append(answer.text)
    assert got == ["first"]


@every_shape
async def test_a_fault_shows_an_id_and_none_of_its_words(
    open_house: Open, use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    house = await open_house(raising(RuntimeError("canary")))
    with caplog.at_level(logging.ERROR), call.entered(acme()), pytest.raises(Internal) as failed:
        await use(house.stub)
    assert failed.value.error_id
    assert failed.value.message == "an internal error"
    [line] = [record for record in caplog.records if hasattr(record, "error_id")]
    assert vars(line)["error_id"] == failed.value.error_id
    assert vars(line)["error_type"] == "RuntimeError"
    assert any(place.startswith("test_channel_ends.py:") for place in vars(line)["places"])
    assert "canary" not in caplog.text


async def test_a_status_is_the_same_for_a_client_without_our_library(open_house: Open) -> None:
    house = await open_house(raising(REFUSAL))
    with pytest.raises(aio.AioRpcError) as refused:
        await house.raw("unary_unary", "Echo")(b"", metadata=((call.ASSERTION, "acme generate"),))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details() == REFUSAL.message
    assert DETAILS in [name for name, _ in refused.value.trailing_metadata() or ()]


async def test_a_cancelled_part_of_a_handler_is_a_fault_and_does_not_hang_the_client(open_house: Open) -> None:
    async def once(request: Any, context: Any) -> Any:
        part = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(part.cancel)
        await part

    house = await open_house(Acts(once=once))
    with call.entered(acme()), pytest.raises(Internal):
        await house.stub.Echo(text(""), timeout=5)


async def test_abort_by_the_handler_itself_is_let_through(open_house: Open) -> None:
    async def once(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.ALREADY_EXISTS, "so be it")

    house = await open_house(Acts(once=once))
    with pytest.raises(aio.AioRpcError) as refused:
        await house.raw("unary_unary", "Echo")(b"", metadata=((call.ASSERTION, "acme generate"),))
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.ALREADY_EXISTS, "so be it")


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
    gc.collect()
    await asyncio.wait_for(watched.ended.wait(), 2)


async def test_dropping_a_stream_cancels_its_handler(open_house: Open) -> None:
    watched = Watched()
    house = await open_house(watched.acts())
    with call.entered(acme()):
        stream = house.stub.EchoMany(text(""))
        assert (await stream.read()).text == "first"
        del stream
    gc.collect()
    await asyncio.wait_for(watched.ended.wait(), 2)


async def test_a_handler_that_ends_early_ends_the_requests_too(open_house: Open) -> None:
    async def collect(requests: Any, context: Any) -> Any:
        async for request in requests:
            return pb.EchoResponse(text=request.text)

    async def endless() -> AsyncIterator[Any]:
        try:
            while True:
                yield text("a")
        finally:
            stopped.set()

    stopped = asyncio.Event()
    house = await open_house(Acts(collect=collect))
    with call.entered(acme()):
        assert (await house.stub.Collect(endless())).text == "a"
    gc.collect()
    await asyncio.wait_for(stopped.wait(), 2)


@pytest.mark.parametrize("pause", [0, 1], ids=["in a hurry", "at leisure"])
async def test_writing_to_a_call_that_was_refused_raises_the_refusal(open_house: Open, pause: int) -> None:
    """grpc.aio loses the status when it arrives while a request is written; the channel must not."""
    house = await open_house(raising(NotFound(Reason.NOT_FOUND, "gone")))
    with call.entered(acme()):
        for _ in range(20):
            stream = house.stub.Collect()
            with pytest.raises(NotFound):
                for _ in range(10_000):
                    await stream.write(text("x" * 1000))
                    for _ in range(pause):
                        await asyncio.sleep(0)


async def test_a_request_iterator_that_fails_ends_the_call(open_house: Open) -> None:
    async def requests() -> AsyncIterator[Any]:
        yield text("a")
        raise InvalidArgument("documents", "is not UTF-8")

    house = await open_house()
    with call.entered(acme()), pytest.raises(InvalidArgument):
        await house.stub.Collect(requests())


async def test_a_writer_waits_for_its_reader(open_house: Open, channel_kind: str) -> None:
    """Over the network the window is counted in bytes, in a process in messages."""
    sent = 0

    async def many(request: Any, context: Any) -> AsyncIterator[Any]:
        nonlocal sent
        for number in range(request.count):
            yield pb.EchoResponse(text=f"{number:04}" + "x" * 60_000)
            sent = number + 1

    house = await open_house(Acts(many=many))
    with call.entered(acme()):
        stream = house.stub.EchoMany(text("", 1000))
        first = await stream.read()
        before = -1
        while before != sent:  # Until the writer has come to rest.
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 500
        if channel_kind == "inprocess":
            assert sent <= PIPE_MESSAGES + 1
        rest = [first, *[answer async for answer in drain(stream)]]
    assert [int(answer.text[:4]) for answer in rest] == list(range(1000))


async def drain(stream: Any) -> AsyncIterator[Any]:
    while (message := await stream.read()) is not aio.EOF:
        yield message


async def test_a_sender_waits_for_a_slow_handler(open_house: Open, channel_kind: str) -> None:
    read = asyncio.Event()
    taken = 0

    async def collect(requests: Any, context: Any) -> Any:
        await read.wait()
        return pb.EchoResponse(text=str(sum([1 async for _ in requests])))

    async def requests() -> AsyncIterator[Any]:
        nonlocal taken
        for _ in range(500):
            taken += 1
            yield text("x" * 60_000)

    house = await open_house(Acts(collect=collect))
    with call.entered(acme()):
        waiting = asyncio.ensure_future(house.stub.Collect(requests()))
        before = -1
        while before != taken:
            before = taken
            await asyncio.sleep(0.1)
        assert taken < 400
        if channel_kind == "inprocess":
            assert taken <= PIPE_MESSAGES + 1
        read.set()
        assert (await waiting).text == "500"


async def test_a_service_that_is_away_is_unavailable_and_named(open_house: Open, channel_kind: str) -> None:
    house = await open_house()
    if channel_kind == "inprocess":
        house.registry.remove("echo")
    else:
        await house.listener.drain(0)
    with call.entered(acme()), pytest.raises(Unavailable) as away:
        await house.stub.EchoOnce(text(""))
    assert away.value.reason is Reason.SERVICE_UNAVAILABLE
    assert away.value.metadata == {"service": "echo"}


async def test_an_error_is_one_of_ours_whatever_happens(open_house: Open) -> None:
    house = await open_house(raising(ValueError("x")))
    with call.entered(acme()):
        for use in (use_unary, use_many, use_collect, use_chat):
            with pytest.raises(TenantryError):
                await use(house.stub)
