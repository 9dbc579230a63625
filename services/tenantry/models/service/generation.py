"""GenerationService: protobuf to use case and back."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from grpc import aio

from tenantry.api.models.v1 import generation_service_pb2 as pb
from tenantry.api.models.v1 import generation_service_pb2_grpc as grpc_pb
from tenantry.kit import call, caller
from tenantry.kit.errors import InvalidArgument, PermissionDenied, Reason
from tenantry.models.generating import Generating
from tenantry.models.generation import Ask, Finish, Passage, Result, Role, Turn
from tenantry.models.model import Model
from tenantry.models.registry import MOST_FALLBACKS, MOST_OUTPUT_TOKENS, check_id
from tenantry.models.service.models import model_message
from tenantry.models.slots import Standing

Context = aio.ServicerContext[Any, Any]
MOST_MESSAGES = 100
MOST_PASSAGES = 50
MOST_TEMPERATURE = 2.0
MOST_PRIORITY = 9
_ROLES: dict[int, Role] = {
    pb.ROLE_SYSTEM: Role.SYSTEM,
    pb.ROLE_USER: Role.USER,
    pb.ROLE_ASSISTANT: Role.ASSISTANT,
}
_FINISHES: dict[Finish, pb.FinishReason.ValueType] = {
    Finish.UNKNOWN: pb.FINISH_REASON_UNSPECIFIED,
    Finish.STOP: pb.FINISH_REASON_STOP,
    Finish.LENGTH: pb.FINISH_REASON_LENGTH,
    Finish.FILTERED: pb.FINISH_REASON_FILTERED,
}


class GenerationService(grpc_pb.GenerationServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, generating: Generating) -> None:
        self._generating = generating

    async def GenerateContent(self, request: pb.GenerateContentRequest, context: Context) -> pb.GenerateContentResponse:
        texts: list[str] = []
        response = pb.GenerateContentResponse()
        async with aclosing(self._pieces(request.input, stream=False)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Result):
                    response.result.CopyFrom(_result(piece))
                elif isinstance(piece, str):
                    texts.append(piece)
        response.text = "".join(texts)
        return response

    async def StreamGenerateContent(
        self, request: pb.StreamGenerateContentRequest, context: Context
    ) -> AsyncIterator[pb.StreamGenerateContentResponse]:
        async with aclosing(self._pieces(request.input, stream=True)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Result):
                    yield pb.StreamGenerateContentResponse(result=_result(piece))
                elif isinstance(piece, Model):
                    yield pb.StreamGenerateContentResponse(model=model_message(piece))
                elif isinstance(piece, Standing):
                    yield pb.StreamGenerateContentResponse(waiting=_waiting(piece))
                else:
                    yield pb.StreamGenerateContentResponse(text_delta=piece)

    def _pieces(
        self, given: pb.GenerationInput, *, stream: bool
    ) -> AsyncGenerator[str | Model | Standing | Result, None]:
        tenant = caller.owner()
        if given.HasField("receipt") and given.receipt.tenant != tenant.id:
            raise PermissionDenied(Reason.RECEIPT_INVALID, "the receipt is another tenant's")
        models = [check_id(given.model, "input.model"), *(check_id(one, "input.fallbacks") for one in given.fallbacks)]
        return self._generating.generate(
            tenant,
            caller.current().models,
            models,
            _ask(given),
            given.receipt,
            stream=stream,
            deadline=call.CURRENT.get().deadline,
        )


def _ask(given: pb.GenerationInput) -> Ask:
    wrong = [("input." + field, what) for field, what, is_wrong in _checks(given) if is_wrong]
    if wrong:
        raise InvalidArgument.many(wrong)
    return Ask(
        turns=[Turn(_ROLES[message.role], message.text) for message in given.messages],
        max_output_tokens=given.max_output_tokens,
        passages=[Passage(one.number, one.title, one.heading, one.text) for one in given.passages],
        question=given.question,
        output_schema=given.output_schema,
        temperature=given.temperature if given.HasField("temperature") else None,
        priority=given.priority,
    )


def _checks(given: pb.GenerationInput) -> list[tuple[str, str, bool]]:
    numbers = [passage.number for passage in given.passages]
    messages = given.messages
    return [
        ("fallbacks", f"has more than {MOST_FALLBACKS}", len(given.fallbacks) > MOST_FALLBACKS),
        ("messages", f"has none or more than {MOST_MESSAGES}", not 1 <= len(messages) <= MOST_MESSAGES),
        ("messages", "has one without a role", any(one.role not in _ROLES for one in messages)),
        ("messages", "does not end with the user's", bool(messages) and messages[-1].role != pb.ROLE_USER),
        ("passages", f"has more than {MOST_PASSAGES}", len(numbers) > MOST_PASSAGES),
        ("passages", "has a number below 1 or twice", min(numbers, default=1) < 1 or len(set(numbers)) < len(numbers)),
        (
            "max_output_tokens",
            f"is not within 1 and {MOST_OUTPUT_TOKENS}",
            not 1 <= given.max_output_tokens <= MOST_OUTPUT_TOKENS,
        ),
        ("output_schema", "is not a JSON object", bool(given.output_schema) and not _is_object(given.output_schema)),
        ("temperature", f"is not within 0 and {MOST_TEMPERATURE}", not 0 <= given.temperature <= MOST_TEMPERATURE),
        ("priority", f"is not within 0 and {MOST_PRIORITY}", not 0 <= given.priority <= MOST_PRIORITY),
    ]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _waiting(standing: Standing) -> pb.Waiting:
    waiting = pb.Waiting(place=standing.place)
    if standing.wait_s:
        waiting.expected_wait.FromNanoseconds(round(standing.wait_s * 1e9))
    return waiting


def _result(result: Result) -> pb.GenerationResult:
    return pb.GenerationResult(
        provider=result.provider,
        model=result.model,
        model_revision=result.model_revision,
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        cost_micros=result.cost_micros,
        finish_reason=_FINISHES[result.finish],
        counts_estimated=result.estimated,
        cached_input_tokens=result.cached_input_tokens,
    )
