"""GenerationService with the built-in model, as the gateway sees it."""

import pytest

from tenantry.api.models.v1 import generation_service_pb2 as pb
from tenantry.api.models.v1.generation_service_pb2_grpc import GenerationServiceStub
from tenantry.kit.errors import InvalidArgument, PermissionDenied
from tests.harness.room import Served, caller_of


def asking(question: str, *texts: str) -> pb.GenerationInput:
    return pb.GenerationInput(
        model="extractive",
        messages=[pb.Message(role=pb.ROLE_USER, text=question)],
        passages=[pb.SourcePassage(number=n, title="Refunds", text=text) for n, text in enumerate(texts, 1)],
        question=question,
        max_output_tokens=200,
    )


REFUND = asking("How long is the refund period?", "We sell arms.", "The refund period is 45 days.")


async def test_an_answer_is_a_sentence_of_a_passage_with_its_number(models: Served) -> None:
    stub = GenerationServiceStub(models.channel(service="gateway"))
    with models.calling(caller_of(scopes={"generate"})):
        answered = await stub.GenerateContent(pb.GenerateContentRequest(input=REFUND))
    assert answered.text == "The refund period is 45 days. [2]"
    assert (answered.result.provider, answered.result.model) == ("extractive", "extractive")
    assert answered.result.finish_reason == pb.FINISH_REASON_STOP
    assert answered.result.cost_micros == 0 and answered.result.output_tokens == 9


async def test_a_stream_is_the_same_answer_and_ends_with_the_result(models: Served) -> None:
    stub = GenerationServiceStub(models.channel(service="gateway"))
    with models.calling(caller_of(scopes={"generate"})):
        pieces = [one async for one in stub.StreamGenerateContent(pb.StreamGenerateContentRequest(input=REFUND))]
    assert "".join(one.text_delta for one in pieces) == "The refund period is 45 days. [2]"
    assert [one.HasField("result") for one in pieces] == [False, True]


async def test_what_no_passage_answers_is_said_so_in_one_sentence(models: Served) -> None:
    stub = GenerationServiceStub(models.channel(service="gateway"))
    asked = asking("What is the payload of the R7 arm?", "We sell arms.", "The refund period is 45 days.")
    with models.calling(caller_of(scopes={"generate"})):
        answered = await stub.GenerateContent(pb.GenerateContentRequest(input=asked))
    assert answered.text == "The documents I was given do not answer this question."


async def test_only_the_gateway_may_generate(models: Served) -> None:
    with models.calling(caller_of(scopes={"generate", "models.read"})), pytest.raises(PermissionDenied):
        stub = GenerationServiceStub(models.channel(service="cache"))
        await stub.GenerateContent(pb.GenerateContentRequest(input=REFUND))


async def test_each_wrong_field_is_named(models: Served) -> None:
    stub = GenerationServiceStub(models.channel(service="gateway"))
    bad = pb.GenerationInput(
        model="extractive",
        messages=[pb.Message(role=pb.ROLE_ASSISTANT, text="x"), pb.Message(text="y")],
        passages=[pb.SourcePassage(number=1), pb.SourcePassage(number=1)],
        temperature=3,
        priority=10,
    )
    with models.calling(caller_of()), pytest.raises(InvalidArgument) as refused:
        await stub.GenerateContent(pb.GenerateContentRequest(input=bad))
    assert {field for field, _ in refused.value.violations} == {
        "input.messages",
        "input.passages",
        "input.max_output_tokens",
        "input.temperature",
        "input.priority",
    }
