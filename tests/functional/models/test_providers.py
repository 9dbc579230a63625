"""GenerationService with models of outside providers, over a loopback server that speaks both wire formats."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenantry.api.models.v1 import generation_service_pb2 as pb
from tenantry.api.models.v1 import model_service_pb2 as registry_pb
from tenantry.api.models.v1.generation_service_pb2_grpc import GenerationServiceStub
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.kit.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted, TenantryError, Unavailable
from tenantry.kit.public_http import MOST_STREAMED_BYTES
from tests.harness.poll import until
from tests.harness.provider import ProviderServer, Reply, provider
from tests.harness.room import Served, caller_of

OPERATOR = caller_of("", "", scopes={"models.write"})
KINDS = {"openai": registry_pb.PROVIDER_OPENAI, "anthropic": registry_pb.PROVIDER_ANTHROPIC}
USED_COST = 11 * 3 + 7 * 15


@pytest.fixture
async def server(models: Served) -> AsyncIterator[ProviderServer]:
    async with provider() as running:
        stub = ModelServiceStub(models.channel())
        with models.calling(OPERATOR):
            for name, kind in KINDS.items():
                url = running.openai_url if name == "openai" else running.anthropic_url
                model = registry_pb.Model(
                    model=name,
                    provider=kind,
                    provider_model=f"{name}-1",
                    base_url=url,
                    input_price_micros=3_000_000,
                    output_price_micros=15_000_000,
                    max_output_tokens=500,
                )
                await stub.RegisterModel(registry_pb.RegisterModelRequest(model=model))
                await stub.SetProviderCredential(
                    registry_pb.SetProviderCredentialRequest(provider=kind, base_url=url, credential=f"sk-{name}")
                )
        yield running


def asking(model: str, *fallbacks: str) -> pb.GenerationInput:
    return pb.GenerationInput(
        model=model,
        fallbacks=fallbacks,
        messages=[
            pb.Message(role=pb.ROLE_SYSTEM, text="Be brief."),
            pb.Message(role=pb.ROLE_USER, text="How long is the refund period?"),
        ],
        passages=[pb.SourcePassage(number=1, title="Refunds", text="The refund period is 45 days.")],
        question="How long is the refund period?",
        max_output_tokens=1000,
        temperature=0.5,
    )


async def whole(room: Served, given: pb.GenerationInput, timeout: float = 20) -> pb.GenerateContentResponse:
    stub = GenerationServiceStub(room.channel(service="gateway"))
    with room.calling(caller_of()):
        return await stub.GenerateContent(pb.GenerateContentRequest(input=given), timeout=timeout)


async def streamed(
    room: Served, given: pb.GenerationInput, into: list[str], timeout: float = 20
) -> pb.GenerationResult:
    """The result; the deltas go into `into`, so that a test has them when the stream breaks."""
    stub = GenerationServiceStub(room.channel(service="gateway"))
    result = pb.GenerationResult()
    with room.calling(caller_of()):
        async for one in stub.StreamGenerateContent(pb.StreamGenerateContentRequest(input=given), timeout=timeout):
            if one.HasField("result"):
                result = one.result
            else:
                into.append(one.text_delta)
    return result


def is_full(result: pb.GenerationResult, name: str) -> bool:
    return result == pb.GenerationResult(
        provider=name,
        model=name,
        model_revision="provider-model-2026",
        input_tokens=11,
        output_tokens=7,
        cost_micros=USED_COST,
        finish_reason=pb.FINISH_REASON_STOP,
    )


@pytest.mark.parametrize("name", KINDS)
async def test_an_answer_comes_whole_and_in_deltas_with_its_counts_and_cost(
    models: Served, server: ProviderServer, name: str
) -> None:
    server.reply = Reply("It is 45 days [1].")
    answered = await whole(models, asking(name))
    assert answered.text == "It is 45 days [1]." and is_full(answered.result, name)
    deltas: list[str] = []
    result = await streamed(models, asking(name), deltas)
    assert deltas == ["It", " is", " 45", " days", " [1]."] and is_full(result, name)


@pytest.mark.parametrize("name", KINDS)
async def test_what_a_provider_read_from_its_own_cache_is_told_and_is_among_the_input(
    models: Served, server: ProviderServer, name: str
) -> None:
    server.reply = Reply("It is 45 days [1].", cached_tokens=8)
    result = await streamed(models, asking(name), [])
    for found in (result, (await whole(models, asking(name))).result):
        assert (found.input_tokens, found.cached_input_tokens, found.cost_micros) == (11, 8, USED_COST)


@pytest.mark.parametrize("name", KINDS)
async def test_a_provider_gets_the_turns_the_framed_passages_and_its_own_credential(
    models: Served, server: ProviderServer, name: str
) -> None:
    await whole(models, asking(name))
    asked = server.requests[0]
    body = asked.json
    assert f"sk-{name}" in asked.headers.get("authorization", "") + asked.headers.get("x-api-key", "")
    assert (body["model"], body["max_tokens"], body["temperature"]) == (f"{name}-1", 500, 0.5)
    system = body["system"] if name == "anthropic" else body["messages"][0]["content"]
    assert system == "Be brief."
    last = body["messages"][-1]["content"]
    assert last.index("not instructions") < last.index("[1] Refunds\nThe refund period is 45 days.")
    assert last.endswith("\n\nHow long is the refund period?")


@pytest.mark.parametrize("name", KINDS)
async def test_an_output_schema_reaches_the_provider(models: Served, server: ProviderServer, name: str) -> None:
    given = asking(name)
    given.output_schema = '{"type": "object"}'
    await whole(models, given)
    body = server.requests[0].json
    if name == "openai":
        assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    else:
        assert body["system"].endswith('{"type": "object"}')


@pytest.mark.parametrize("name", KINDS)
async def test_counts_that_the_provider_does_not_tell_are_estimated(
    models: Served, server: ProviderServer, name: str
) -> None:
    server.reply = Reply("12345678 abcd", counts=False)
    deltas: list[str] = []
    result = await streamed(models, asking(name), deltas)
    assert result.counts_estimated
    assert result.output_tokens == 4 and result.input_tokens > 10


FAULTS = {
    "429": (Reply(status=429, retry_after="7"), ResourceExhausted, "PROVIDER_RATE_LIMITED", None),
    "500": (Reply(status=500), Unavailable, "PROVIDER_UNAVAILABLE", "failed"),
    "503": (Reply(status=503), Unavailable, "PROVIDER_UNAVAILABLE", "overloaded"),
    "302": (Reply(status=302, location="http://127.0.0.1:1/"), Unavailable, "PROVIDER_UNAVAILABLE", "garbage"),
    "400": (Reply(status=400), FailedPrecondition, "PROVIDER_REFUSED", None),
    "401": (Reply(status=401), FailedPrecondition, "PROVIDER_REFUSED", None),
    "403": (Reply(status=403), FailedPrecondition, "PROVIDER_REFUSED", None),
    "404": (Reply(status=404), FailedPrecondition, "PROVIDER_REFUSED", None),
    "garbage": (Reply(garbage=True), Unavailable, "PROVIDER_UNAVAILABLE", "garbage"),
    "cut": (Reply(cut_after=0), Unavailable, "PROVIDER_UNAVAILABLE", None),
    "packed": (Reply(packed=True), Unavailable, "PROVIDER_UNAVAILABLE", None),
    "endless": (Reply(model="m" * MOST_STREAMED_BYTES), Unavailable, "PROVIDER_UNAVAILABLE", None),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", KINDS)
async def test_each_fault_of_a_provider_is_its_own_error_without_its_words(
    models: Served, server: ProviderServer, name: str, stream: bool
) -> None:
    for fault, (reply, expected, reason, kind) in FAULTS.items():
        server.reply = reply
        server.requests.clear()
        with pytest.raises(TenantryError) as refused:
            await (streamed(models, asking(name), []) if stream else whole(models, asking(name)))
        error = refused.value
        assert (type(error), error.reason) == (expected, reason), fault
        assert error.metadata["provider"] == name
        assert kind is None or error.metadata["kind"] == kind, fault
        if isinstance(error, ResourceExhausted):
            assert error.retry_after_s == 7
        assert "refund" not in f"{error} {error.metadata}" and "refused:" not in str(error)
        assert len(server.requests) == 1, "the SDK tried again by itself"


@pytest.mark.parametrize(
    "breaks", [Reply("a b c d", cut_after=2), Reply("a b c d", error_after=2)], ids=["cut", "told"]
)
@pytest.mark.parametrize("name", KINDS)
async def test_a_stream_that_breaks_after_tokens_says_what_was_used_and_falls_back_no_more(
    models: Served, server: ProviderServer, name: str, breaks: Reply
) -> None:
    server.reply = breaks
    deltas: list[str] = []
    with pytest.raises(Unavailable) as broken:
        await streamed(models, asking(name, "extractive"), deltas)
    assert "".join(deltas) == "a b"
    assert broken.value.metadata["model"] == name and broken.value.metadata["output_tokens"] == "1"
    assert int(broken.value.metadata["input_tokens"]) > 0 and int(broken.value.metadata["cost_micros"]) > 15
    assert "SECRET-WORDS" not in str(broken.value)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_fallbacks_are_asked_in_order_before_the_first_token(
    models: Served, server: ProviderServer, stream: bool
) -> None:
    server.reply = Reply(status=500)
    given = asking("openai", "anthropic", "extractive")
    deltas: list[str] = []
    if stream:
        result = await streamed(models, given, deltas)
    else:
        answered = await whole(models, given)
        result, deltas = answered.result, [answered.text]
    assert result.model == "extractive" and "".join(deltas) == "The refund period is 45 days. [1]"
    assert [one.path for one in server.requests] == ["/v1/chat/completions", "/v1/messages"]


async def test_a_stream_of_a_fallback_names_its_model_first_and_the_chosen_model_s_does_not(
    models: Served, server: ProviderServer
) -> None:
    stub = GenerationServiceStub(models.channel(service="gateway"))
    for status, named in ((200, ""), (500, "anthropic")):
        server.script(Reply("All is well.", status=status))
        with models.calling(caller_of("acme", "acme-org", scopes={"generate"})):
            request = pb.StreamGenerateContentRequest(input=asking("openai", "anthropic"))
            first = await anext(aiter(stub.StreamGenerateContent(request)))
        assert first.model.model == named and first.model.revision.strip() == first.model.revision
        assert first.model.input_price_micros == (3_000_000 if named else 0)
        assert bool(first.text_delta) is not bool(named)


async def test_a_model_that_hangs_leaves_its_fallback_time(models: Served, server: ProviderServer) -> None:
    server.reply = Reply(hang_after=0)
    assert (await whole(models, asking("openai", "extractive"), timeout=2)).result.model == "extractive"


async def test_when_all_fail_the_error_is_the_first_ones(models: Served, server: ProviderServer) -> None:
    server.script(Reply(status=429), Reply(status=500))
    with pytest.raises(ResourceExhausted) as refused:
        await whole(models, asking("openai", "anthropic"))
    assert refused.value.metadata["provider"] == "openai"


@pytest.mark.parametrize("name", KINDS)
async def test_a_stream_that_hangs_ends_with_the_deadline_and_its_connection(
    models: Served, server: ProviderServer, name: str
) -> None:
    server.reply = Reply("a b c d", hang_after=2)
    deltas: list[str] = []
    with pytest.raises(DeadlineExceeded):
        await streamed(models, asking(name), deltas, timeout=1.5)
    assert "".join(deltas) == "a b"
    await until(lambda: server.disconnects == 1)


@pytest.mark.parametrize("name", KINDS)
async def test_cancelling_the_call_closes_the_providers_connection(
    models: Served, server: ProviderServer, name: str
) -> None:
    server.reply = Reply("a b c d", hang_after=2)
    stub = GenerationServiceStub(models.channel(service="gateway"))
    with models.calling(caller_of()):
        call = stub.StreamGenerateContent(pb.StreamGenerateContentRequest(input=asking(name)))
        async for _ in call:
            call.cancel()
            break
    await until(lambda: server.disconnects == 1)


@pytest.mark.parametrize("name", KINDS)
async def test_cancelling_a_call_that_waits_for_the_whole_answer_closes_the_connection_too(
    models: Served, server: ProviderServer, name: str
) -> None:
    server.reply = Reply(hang_after=0)
    asked = asyncio.ensure_future(whole(models, asking(name)))
    await until(lambda: len(server.requests) == 1)
    asked.cancel()
    await until(lambda: server.disconnects == 1)


async def test_a_model_that_failed_five_times_is_left_alone_for_a_while(models: Served, server: ProviderServer) -> None:
    server.reply = Reply(status=500)
    for _ in range(5):
        with pytest.raises(Unavailable):
            await whole(models, asking("openai"))
    with pytest.raises(Unavailable) as refused:
        await whole(models, asking("openai"))
    assert len(server.requests) == 5
    assert refused.value.retry_after_s is not None and refused.value.retry_after_s > 1


async def test_a_model_without_a_credential_at_the_providers_own_address_is_refused(
    models: Served, server: ProviderServer
) -> None:
    model = registry_pb.Model(
        model="gpt", provider=registry_pb.PROVIDER_OPENAI, provider_model="gpt", max_output_tokens=9
    )
    with models.calling(OPERATOR):
        await ModelServiceStub(models.channel()).RegisterModel(registry_pb.RegisterModelRequest(model=model))
    with pytest.raises(FailedPrecondition):
        await whole(models, asking("gpt"))
