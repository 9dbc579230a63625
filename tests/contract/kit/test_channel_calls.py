"""What a channel carries, the same over the network and in a process: every shape, metadata, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import grpc
import pytest
from grpc import aio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tenantry.kit import call, caller, telemetry
from tenantry.kit.errors import InvalidArgument, PermissionDenied, Reason, Unauthenticated
from tests.harness.echo import KINDS, Acts, Open, acme, houses
from tests.harness.protos import echo_pb2 as pb

OTHER: ContextVar[str] = ContextVar("other", default="nothing")
pytestmark = pytest.mark.parametrize("channel_kind", KINDS)


@pytest.fixture
async def open_house(channel_kind: str) -> AsyncIterator[Open]:
    async with houses(channel_kind) as opener:
        yield opener


@pytest.fixture
def spans() -> Iterator[Callable[[], tuple[ReadableSpan, ...]]]:
    """Records every span; gives those that have ended."""
    memory = InMemorySpanExporter()
    telemetry.start(1.0, [memory])

    def ended() -> tuple[ReadableSpan, ...]:
        telemetry.flush()
        return memory.get_finished_spans()

    yield ended
    telemetry.stop()


def text(value: str, count: int = 0) -> Any:
    return pb.EchoRequest(text=value, count=count)


async def test_a_unary_call_answers(open_house: Open) -> None:
    house = await open_house()
    with call.entered(acme()):
        answer = await house.stub.Echo(text("hello"))
    assert answer == pb.EchoResponse(text="hello")


async def test_many_responses_come_in_order_and_end(open_house: Open) -> None:
    house = await open_house()
    with call.entered(acme()):
        answers = [answer.text async for answer in house.stub.EchoMany(text("n", 100))]
    assert answers == [f"n{number}" for number in range(100)]


async def test_many_requests_come_from_an_async_or_a_plain_iterator(open_house: Open) -> None:
    async def requests() -> AsyncIterator[Any]:
        for number in range(50):
            yield text(str(number))

    house = await open_house()
    with call.entered(acme()):
        expected = ",".join(str(number) for number in range(50))
        assert (await house.stub.Collect(requests())).text == expected
        assert (await house.stub.Collect(iter([text(str(number)) for number in range(50)]))).text == expected
        assert (await house.stub.Collect(iter([]))).text == ""


async def test_requests_can_be_written_one_by_one(open_house: Open) -> None:
    house = await open_house()
    with call.entered(acme()):
        stream = house.stub.Collect()
        await stream.write(text("a"))
        await stream.write(text("b"))
        await stream.done_writing()
        assert (await stream).text == "a,b"


async def test_both_sides_stream_in_turn(open_house: Open) -> None:
    house = await open_house()
    with call.entered(acme()):
        stream = house.stub.Chat()
        for word in ("one", "two", "three"):
            await stream.write(text(word))
            assert (await stream.read()).text == word
        await stream.done_writing()
        assert await stream.read() is aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


async def test_a_handler_may_read_and_write_through_its_context(open_house: Open) -> None:
    async def many(request: Any, context: Any) -> None:
        for number in range(request.count):
            await context.write(pb.EchoResponse(text=str(number)))

    async def collect(requests: Any, context: Any) -> Any:
        words: list[str] = []
        while (request := await context.read()) is not aio.EOF:
            words.append(request.text)
        return pb.EchoResponse(text="".join(words))

    house = await open_house(Acts(many=many, collect=collect))
    with call.entered(acme()):
        assert [answer.text async for answer in house.stub.EchoMany(text("", 3))] == ["0", "1", "2"]
        assert (await house.stub.Collect(iter([text("a"), text("b")]))).text == "ab"


async def test_a_handler_sees_the_caller_the_identity_the_request_and_the_deadline(open_house: Open) -> None:
    seen: list[call.Call] = []

    async def once(request: Any, context: Any) -> Any:
        seen.append(call.CURRENT.get())
        return pb.EchoResponse(text=caller.owner().id)

    house = await open_house(Acts(once=once))
    with call.entered(acme()):
        assert (await house.stub.Echo(text(""), timeout=5)).text == "acme"
    assert seen[0].caller == acme().caller
    assert (seen[0].identity, seen[0].request_id, seen[0].assertion) == ("gateway", "req_1", "acme generate")
    assert seen[0].service == "echo"
    assert seen[0].deadline is not None
    # gRPC rounds what is left of a deadline up when it writes it.
    assert 0 < seen[0].deadline - time.monotonic() <= 5.05


async def test_a_handler_starts_with_nothing_but_what_metadata_carries(open_house: Open) -> None:
    """Whatever context variables the sender has set, the handler's context holds none of them."""
    seen: list[tuple[Any, Any]] = []

    async def once(request: Any, context: Any) -> Any:
        seen.append((call.CURRENT.get(), OTHER.get()))
        assert trace.get_current_span().get_span_context().trace_id != trace_id
        return pb.EchoResponse()

    house = await open_house(Acts(once=once))
    trace_id = 0x1234
    other = OTHER.set("the sender's own")
    sender = trace.NonRecordingSpan(trace.SpanContext(trace_id, 0x77, is_remote=False))
    with call.entered(acme(deadline=time.monotonic() + 1)), trace.use_span(sender):
        await house.raw("unary_unary", "Gossip")(b"", metadata=((call.SERVICE, "insight"),))
    current, leaked = seen[0]
    assert current.caller is None
    assert current.identity == "insight"
    assert current.deadline is None
    assert current.request_id != "req_1"
    assert leaked == "nothing"
    OTHER.reset(other)


@pytest.mark.parametrize("given", ["", "a b", "x" * 65])
async def test_a_request_id_that_is_none_is_replaced(open_house: Open, given: str) -> None:
    seen: list[str] = []

    async def once(request: Any, context: Any) -> Any:
        seen.append(caller.request_id())
        return pb.EchoResponse()

    house = await open_house(Acts(once=once))
    await house.raw("unary_unary", "Gossip")(b"", metadata=((call.SERVICE, "a"), (call.REQUEST_ID, given)))
    assert seen[0] != given
    assert seen[0].startswith("req_")


async def test_a_sender_without_a_caller_carries_none(open_house: Open) -> None:
    house = await open_house()
    with pytest.raises(Unauthenticated) as refused:
        await house.stub.Echo(text(""))
    assert refused.value.reason is Reason.CREDENTIAL_MISSING
    assert (await house.stub.Gossip(text("hi"))).text == "hi"


async def test_a_named_service_is_admitted_and_another_is_not(open_house: Open) -> None:
    gateway, insight = await open_house(), await open_house(service="insight")
    with call.entered(acme()):
        assert (await gateway.stub.Assist(text("hi"))).text == "hi"
        with pytest.raises(PermissionDenied) as refused:
            await insight.stub.Assist(text("hi"))
    assert refused.value.reason is Reason.CALLER_NOT_ALLOWED


@pytest.mark.parametrize("name", [call.ASSERTION, call.TENANT, call.SERVICE, call.REQUEST_ID])
async def test_doubled_proofs_are_refused(open_house: Open, name: str) -> None:
    house = await open_house()
    metadata = ((call.ASSERTION, "acme generate"), (call.SERVICE, "gateway"), (name, "a"), (name, "a"))
    with pytest.raises(aio.AioRpcError) as refused:
        await house.raw("unary_unary", "Echo")(b"", metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert name in (refused.value.details() or "")


async def test_metadata_goes_both_ways(open_house: Open) -> None:
    async def once(request: Any, context: Any) -> Any:
        sent = dict(context.invocation_metadata())
        await context.send_initial_metadata((("x-first", sent["x-word"]),))
        context.set_trailing_metadata((("x-last", sent["x-word"]), ("x-raw-bin", sent["x-raw-bin"])))
        return pb.EchoResponse()

    house = await open_house(Acts(once=once))
    with call.entered(acme()):
        sent = house.stub.Echo(text(""), metadata=(("x-word", "w"), ("x-raw-bin", b"\x00\xff")))
        await sent
        assert (await sent.initial_metadata())["x-first"] == "w"
        trailing = await sent.trailing_metadata()
    assert trailing["x-last"] == "w"
    assert trailing["x-raw-bin"] == b"\x00\xff"


async def test_metadata_that_can_not_be_carried_never_arrives(open_house: Open) -> None:
    async def once(request: Any, context: Any) -> Any:
        raise AssertionError("it arrived")

    house = await open_house(Acts(once=once))
    for value in ("a\nx-tenant-id: globex", "ü"):
        with pytest.raises(Exception) as refused:
            await house.raw("unary_unary", "Gossip")(b"", metadata=(("x-word", value), (call.SERVICE, "gateway")))
        assert not isinstance(refused.value, aio.AioRpcError)


async def test_a_message_changed_after_sending_arrives_as_it_was(open_house: Open) -> None:
    held: list[Any] = []

    async def once(request: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        answer = pb.EchoResponse(text=request.text)
        held.append((request, answer))
        return answer

    house = await open_house(Acts(once=once))
    with call.entered(acme()):
        request = text("first")
        sending = asyncio.ensure_future(house.stub.Echo(request))
        await asyncio.sleep(0)
        request.text = "changed"
        answer = await sending
    assert answer.text == "first"
    received, given = held[0]
    received.text = given.text = "changed by the handler"
    assert (answer.text, request.text) == ("first", "changed")


async def test_a_written_message_changed_after_sending_arrives_as_it_was(open_house: Open) -> None:
    async def chat(requests: Any, context: Any) -> AsyncIterator[Any]:
        answer = pb.EchoResponse()
        async for request in requests:
            answer.text = request.text
            yield answer

    house = await open_house(Acts(chat=chat))
    with call.entered(acme()):
        stream = house.stub.Chat()
        request = pb.EchoRequest()
        for number in range(5):
            request.text = str(number)
            await stream.write(request)
        await stream.done_writing()
        assert [answer.text async for answer in stream] == ["0", "1", "2", "3", "4"]


async def test_bytes_can_be_forwarded_in_every_shape(open_house: Open) -> None:
    house = await open_house()
    proofs = ((call.ASSERTION, "acme generate"),)
    one, two = text("a", 2).SerializeToString(), text("b", 2).SerializeToString()
    assert pb.EchoResponse.FromString(await house.raw("unary_unary", "Echo")(one, metadata=proofs)).text == "a"
    many = [
        pb.EchoResponse.FromString(m).text async for m in house.raw("unary_stream", "EchoMany")(one, metadata=proofs)
    ]
    assert many == ["a0", "a1"]
    gathered = await house.raw("stream_unary", "Collect")(iter([one, two]), metadata=proofs)
    assert pb.EchoResponse.FromString(gathered).text == "a,b"
    chat = house.raw("stream_stream", "Chat")(iter([one, two]), metadata=proofs)
    assert [pb.EchoResponse.FromString(message).text async for message in chat] == ["a", "b"]


@pytest.mark.parametrize(("method", "expected"), [("Echo", ["a"]), ("EchoMany", ["a0", "a1"]), ("Collect", ["a"])])
async def test_any_rpc_can_be_forwarded_as_a_stream_of_both(open_house: Open, method: str, expected: list[str]) -> None:
    house = await open_house()
    stream = house.raw("stream_stream", method)(
        iter([text("a", 2).SerializeToString()]), metadata=((call.ASSERTION, "acme generate"),)
    )
    assert [pb.EchoResponse.FromString(message).text async for message in stream] == expected


async def test_calls_run_side_by_side(open_house: Open) -> None:
    arrived = asyncio.Barrier(3)

    async def once(request: Any, context: Any) -> Any:
        await arrived.wait()
        return pb.EchoResponse(text=request.text)

    house = await open_house(Acts(once=once))
    with call.entered(acme()):
        answers = await asyncio.gather(*(house.stub.Echo(text(str(number))) for number in range(3)))
    assert [answer.text for answer in answers] == ["0", "1", "2"]


async def test_a_request_that_is_too_large_is_refused_with_a_sentence(open_house: Open) -> None:
    house = await open_house()
    with call.entered(acme()):
        with pytest.raises(InvalidArgument) as refused:
            await house.stub.Echo(text("x" * (4 * 1024 * 1024)))
        assert refused.value.reason is Reason.TOO_LARGE
    big = text("x" * (32 * 1024 * 1024)).SerializeToString()
    with pytest.raises(aio.AioRpcError) as told:
        await house.raw("unary_unary", "Echo")(big, metadata=((call.ASSERTION, "acme generate"),))
    assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "larger than 4194304 bytes" in (told.value.details() or "")


async def test_bytes_that_are_no_message_are_the_senders_fault(open_house: Open) -> None:
    house = await open_house()
    with pytest.raises(aio.AioRpcError) as refused:
        await house.raw("unary_unary", "Echo")(b"\xff\xff\xff", metadata=((call.ASSERTION, "acme generate"),))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_rpc_that_nobody_has_is_unimplemented(open_house: Open) -> None:
    house = await open_house()
    with pytest.raises(aio.AioRpcError) as refused:
        await house.raw("unary_unary", "Nothing")(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_answer_without_a_caller_says_whom_it_was_about(open_house: Open, spans: Any) -> None:
    async def once(request: Any, context: Any) -> Any:
        telemetry.set_tenant("globex", "free")
        return pb.EchoResponse()

    house = await open_house(Acts(once=once))
    await house.stub.Gossip(text(""))
    ended = {span.kind: dict(span.attributes or {}) for span in spans()}
    for kind in (trace.SpanKind.SERVER, trace.SpanKind.CLIENT):
        assert ended[kind][telemetry.TENANT] == "globex"
        assert ended[kind][telemetry.TIER] == "free"


async def test_client_and_server_spans_are_one_trace_and_say_whose_they_are(open_house: Open, spans: Any) -> None:
    house = await open_house()
    with call.entered(acme()):
        await house.stub.Echo(text(""))
        _ = [answer async for answer in house.stub.EchoMany(text("", 2))]
    ended = spans()
    assert len(ended) == 4
    clients = {span.name: span for span in ended if span.kind is trace.SpanKind.CLIENT}
    for server in (span for span in ended if span.kind is trace.SpanKind.SERVER):
        client = clients[server.name]
        assert server.parent.span_id == client.context.span_id
        assert server.context.trace_id == client.context.trace_id
        for span in (client, server):
            attributes = span.attributes
            assert attributes[telemetry.TENANT] == "acme"
            assert attributes[telemetry.TIER] == "pro"
            assert attributes[telemetry.REQUEST_ID] == "req_1"
            assert attributes["rpc.system"] == "grpc"
            assert attributes["rpc.grpc.status_code"] == 0
