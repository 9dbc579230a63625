"""How calls fail and wait, the same over the network and in a process: errors with details, back-pressure."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import aio

from tenantry.kit import call
from tenantry.kit.errors import (
    Internal,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
    TenantryError,
    Unavailable,
)
from tenantry.kit.exchange import PIPE_MESSAGES
from tenantry.kit.status import DETAILS
from tests.harness.echo import EVERY_SHAPE, KINDS, Acts, Open, Use, acme, houses
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


every_shape = pytest.mark.parametrize("use", EVERY_SHAPE)


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
            got += [answer.text]
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


async def test_a_handler_that_ends_early_ends_the_requests_too(open_house: Open) -> None:
    async def collect(requests: Any, context: Any) -> Any:
        first = await anext(requests)
        return pb.EchoResponse(text=first.text)

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
        for use in EVERY_SHAPE:
            with pytest.raises(TenantryError):
                await use(house.stub)
