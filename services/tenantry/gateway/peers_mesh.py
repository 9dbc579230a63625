"""The other services over the mesh: our words to protobuf and back."""

from collections.abc import AsyncGenerator
from typing import Any

from google.protobuf.duration_pb2 import Duration

from tenantry.api.cache.v1 import cache_service_pb2 as cache_pb
from tenantry.api.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from tenantry.api.common.v1 import usage_pb2
from tenantry.api.gateway.v1 import gateway_service_pb2 as gateway_pb
from tenantry.api.models.v1 import generation_service_pb2 as generation_pb
from tenantry.api.models.v1 import model_service_pb2 as model_pb
from tenantry.api.models.v1.generation_service_pb2_grpc import GenerationServiceStub
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.prompts.v1 import prompt_service_pb2 as prompt_pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.api.quota.v1 import reservation_service_pb2 as quota_pb
from tenantry.api.quota.v1.reservation_service_pb2_grpc import ReservationServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.gateway.citations import Citation, Passage
from tenantry.gateway.peers import (
    Answer,
    End,
    Epoch,
    Found,
    Generation,
    Hit,
    Lead,
    Model,
    Plan,
    Rendered,
    Reserved,
    Use,
    Wait,
    Waiting,
)
from tenantry.gateway.query import Query
from tenantry.kit import caller
from tenantry.kit.channel import Mesh

_FINISH = {
    generation_pb.FINISH_REASON_STOP: "stop",
    generation_pb.FINISH_REASON_LENGTH: "length",
    generation_pb.FINISH_REASON_FILTERED: "filtered",
}
_OUTCOMES = {
    "ok": usage_pb2.OUTCOME_OK,
    "cancelled": usage_pb2.OUTCOME_CANCELLED,
    "failed": usage_pb2.OUTCOME_FAILED,
    "deadline": usage_pb2.OUTCOME_DEADLINE,
}
_ROLES = {"assistant": generation_pb.ROLE_ASSISTANT, "user": generation_pb.ROLE_USER}
# A model may take longer than kit's 30 s; the caller's own deadline still holds.
_GENERATE_S = 590.0
# A cache that is slower than this costs more than it saves.
_LOOK_UP_S = 1.0
# Retrieval's limit of a query.
MAX_SEARCHED_BYTES = 8 * 1024


class MeshPeers:
    """Peers over the channels of the gateway's mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self._prompts = PromptServiceStub(mesh.channel("prompts"))
        self._models = ModelServiceStub(mesh.channel("models"))
        self._generation = GenerationServiceStub(mesh.channel("models"))
        self._documents = DocumentServiceStub(mesh.channel("retrieval"))
        self._quota = ReservationServiceStub(mesh.channel("quota"))
        self._cache = CacheServiceStub(mesh.channel("cache"))

    async def render(self, query: Query) -> Rendered:
        request = prompt_pb.RenderPromptRequest(
            prompt=query.prompt,
            revision=query.prompt_revision,
            variables={**query.variables, "question": query.question},
        )
        answer = await self._prompts.RenderPrompt(request)
        return Rendered(
            answer.prompt,
            answer.revision,
            answer.system,
            answer.user,
            answer.output_schema,
            answer.max_output_tokens,
            answer.temperature if answer.HasField("temperature") else None,
        )

    async def select_model(self, model: str) -> Model:
        answer = await self._models.SelectModel(model_pb.SelectModelRequest(model=model))
        return _model(answer.model, tuple(_model(one) for one in answer.fallback_models))

    async def documents_epoch(self) -> Epoch:
        answer = await self._documents.GetDocumentsEpoch(document_pb.GetDocumentsEpochRequest())
        return Epoch(answer.documents_epoch, answer.changing, answer.embedder)

    async def search(self, query: Query) -> list[Passage]:
        request = document_pb.SearchPassagesRequest(
            query=_searched(query.question), collections=query.collections, limit=query.passages
        )
        answer = await self._documents.SearchPassages(request)
        return [Passage(one.collection, one.document, one.title, one.heading, one.text) for one in answer.passages]

    async def reserve(self, plan: Plan, nonce: str, input_tokens: int) -> Reserved:
        request = quota_pb.ReserveQuotaRequest(
            nonce=nonce,
            model=plan.model.model,
            end_user=plan.query.end_user,
            input_tokens=input_tokens,
            max_output_tokens=plan.max_output_tokens,
            request_id=caller.request_id(),
            input_price_micros=plan.model.input_price_micros,
            output_price_micros=plan.model.output_price_micros,
        )
        answer = await self._quota.ReserveQuota(request)
        return Reserved(answer.receipt, answer.held_output_tokens)

    async def renew(self, receipt: Any, output_tokens: int) -> int:
        request = quota_pb.RenewReservationRequest(receipt=receipt, output_tokens=output_tokens)
        return (await self._quota.RenewReservation(request)).held_output_tokens

    async def commit(self, receipt: Any, use: Use) -> None:
        await self._quota.CommitReservation(quota_pb.CommitReservationRequest(receipt=receipt, usage=usage_of(use)))

    async def release(self, receipt: Any) -> None:
        await self._quota.ReleaseReservation(quota_pb.ReleaseReservationRequest(receipt=receipt))

    async def look_up(self, plan: Plan) -> Found:
        request = cache_pb.LookupEntryRequest(key=_key(plan), documents_epoch=plan.epoch.number)
        return _found(await self._cache.LookupEntry(request, timeout=_LOOK_UP_S))

    async def wait_for(self, plan: Plan, handle: str) -> Found:
        return _found(await self._cache.AwaitEntry(cache_pb.AwaitEntryRequest(key=_key(plan), handle=handle)), handle)

    async def renew_flight(self, plan: Plan, handle: str) -> None:
        await self._cache.RenewFlight(cache_pb.RenewFlightRequest(key=_key(plan), handle=handle))

    async def store(self, plan: Plan, handle: str, answer: Answer) -> None:
        cached = cache_pb.CachedAnswer(
            text=answer.text,
            citations=gateway_pb.GenerationSummary(citations=citations_of(answer.citations)).SerializeToString(),
            provider=answer.provider,
            model=answer.model,
            model_revision=answer.model_revision,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            finish_reason=answer.finish_reason,
        )
        await self._cache.StoreEntry(
            cache_pb.StoreEntryRequest(key=_key(plan), handle=handle, answer=cached, documents_epoch=plan.epoch.number)
        )

    async def abandon(self, plan: Plan, handle: str, *, keep_if_awaited: bool) -> bool:
        request = cache_pb.AbandonFlightRequest(key=_key(plan), handle=handle, keep_if_awaited=keep_if_awaited)
        return (await self._cache.AbandonFlight(request)).abandoned

    async def generate(self, generation: Generation) -> AsyncGenerator[str | Waiting | Model | End]:
        given = _input(generation)
        if not generation.streamed:
            request = generation_pb.GenerateContentRequest(input=given)
            whole = await self._generation.GenerateContent(request, timeout=_GENERATE_S)
            yield whole.text
            yield _end(whole.result)
            return
        stream = self._generation.StreamGenerateContent(
            generation_pb.StreamGenerateContentRequest(input=given), timeout=_GENERATE_S
        )
        try:
            async for piece in stream:
                if piece.HasField("waiting"):
                    yield Waiting(piece.waiting.place, piece.waiting.expected_wait.ToNanoseconds() / 1e9)
                if piece.HasField("model"):
                    yield _model(piece.model)
                if piece.text_delta:
                    yield piece.text_delta
                if piece.HasField("result"):
                    yield _end(piece.result)
        finally:
            stream.cancel()


def waiting_of(waiting: Waiting) -> gateway_pb.Waiting:
    """The contract's waiting."""
    expected = _duration(waiting.expected_s) if waiting.expected_s else None
    return gateway_pb.Waiting(place=waiting.place, expected_wait=expected)


def usage_of(use: Use) -> usage_pb2.Usage:
    """The contract's usage."""
    first = None if use.first_token_s is None else _duration(use.first_token_s)
    return usage_pb2.Usage(
        input_tokens=use.input_tokens,
        output_tokens=use.output_tokens,
        cost_micros=use.cost_micros,
        cached_input_tokens=use.cached_input_tokens,
        counts_estimated=use.counts_estimated,
        provider=use.provider,
        model=use.model,
        model_revision=use.model_revision,
        latency=_duration(use.latency_s),
        outcome=_OUTCOMES[use.outcome],
        cache_hit=use.cache_hit,
        request_id=use.request_id,
        prompt=use.prompt,
        prompt_revision=use.prompt_revision,
        first_token_latency=first,
    )


def citations_of(citations: tuple[Citation, ...]) -> list[gateway_pb.Citation]:
    """The contract's citations."""
    return [
        gateway_pb.Citation(
            number=one.number,
            collection=one.passage.collection,
            document=one.passage.document,
            title=one.passage.title,
            heading=one.passage.heading,
            text=one.passage.text,
        )
        for one in citations
    ]


def _key(plan: Plan) -> cache_pb.CacheKey:
    query, rendered = plan.query, plan.rendered
    temperature = "" if plan.temperature is None else f"{plan.temperature!r}"
    return cache_pb.CacheKey(
        # The question is searched for, the message is read: both decide the answer. The length keeps them apart.
        question=f"{len(rendered.user)}:{rendered.user}{query.question}",
        system=rendered.system,
        model=plan.model.model,
        model_revision=plan.model.revision,
        prompt=rendered.prompt,
        prompt_revision=rendered.revision,
        output_schema=rendered.output_schema,
        collections=sorted(set(query.collections)),
        passages=query.passages,
        decoding=f"max_output_tokens={plan.max_output_tokens};temperature={temperature}",
        embedder=plan.epoch.embedder,
        locale=query.locale,
        end_user=query.end_user if query.personal else "",
        personal=query.personal,
    )


def _input(generation: Generation) -> generation_pb.GenerationInput:
    plan = generation.plan
    turns = [("user", plan.rendered.user), *generation.turns]
    messages = [generation_pb.Message(role=_ROLES[role], text=text) for role, text in turns]
    if plan.rendered.system:
        messages.insert(0, generation_pb.Message(role=generation_pb.ROLE_SYSTEM, text=plan.rendered.system))
    passages = [
        generation_pb.SourcePassage(number=number, title=one.title, heading=one.heading, text=one.text)
        for number, one in enumerate(generation.passages, start=1)
    ]
    return generation_pb.GenerationInput(
        model=plan.model.model,
        fallbacks=[one.model for one in plan.model.fallbacks],
        messages=messages,
        passages=passages,
        question=plan.query.question,
        output_schema=plan.rendered.output_schema,
        max_output_tokens=plan.max_output_tokens,
        temperature=plan.temperature,
        receipt=generation.receipt,
        priority=plan.query.priority,
    )


def _searched(question: str) -> str:
    """As much of it as retrieval takes."""
    return question.encode()[:MAX_SEARCHED_BYTES].decode(errors="ignore")


def _model(model: model_pb.Model, fallbacks: tuple[Model, ...] = ()) -> Model:
    return Model(
        model.model,
        model_pb.Provider.Name(model.provider).removeprefix("PROVIDER_").lower(),
        model.revision,
        model.input_price_micros,
        model.output_price_micros,
        model.max_output_tokens,
        fallbacks,
        model.provider_model,
    )


def _end(result: generation_pb.GenerationResult) -> End:
    return End(
        result.provider,
        result.model,
        result.model_revision,
        result.input_tokens,
        result.output_tokens,
        result.cost_micros,
        _FINISH.get(result.finish_reason, "stop"),
        result.cached_input_tokens,
        result.counts_estimated,
    )


def _found(answer: cache_pb.LookupEntryResponse | cache_pb.AwaitEntryResponse, waiting: str = "") -> Found:
    if answer.outcome == cache_pb.LOOKUP_OUTCOME_LEAD:
        return Lead(answer.handle)
    if answer.outcome == cache_pb.LOOKUP_OUTCOME_WAIT:
        return Wait(answer.handle or waiting)
    cached = answer.answer
    citations = gateway_pb.GenerationSummary.FromString(cached.citations).citations
    return Hit(
        Answer(
            cached.text,
            tuple(
                Citation(one.number, Passage(one.collection, one.document, one.title, one.heading, one.text))
                for one in citations
            ),
            cached.provider,
            cached.model,
            cached.model_revision,
            cached.input_tokens,
            cached.output_tokens,
            cached.finish_reason,
        ),
        answer.documents_epoch,
    )


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
