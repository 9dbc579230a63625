"""GatewayService: protobuf to use case and back."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from grpc import aio

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1 import gateway_service_pb2_grpc as grpc_pb
from tenantry.gateway.answering import Answering
from tenantry.gateway.peers import Waiting
from tenantry.gateway.peers_mesh import citations_of, usage_of, waiting_of
from tenantry.gateway.production import Complete
from tenantry.gateway.query import USUAL_PASSAGES, Query
from tenantry.kit import caller, telemetry

Context = aio.ServicerContext[Any, Any]
_NO_PASSAGES = -1


class GatewayService(grpc_pb.GatewayServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    async def GenerateContent(self, request: pb.GenerateContentRequest, context: Context) -> pb.GenerateContentResponse:
        caller.owner()
        text: list[str] = []
        async with aclosing(self._answering.answer(_query(request.query), streamed=False)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Complete):
                    return pb.GenerateContentResponse(text="".join(text), summary=_summary(piece))
                if isinstance(piece, str):
                    text.append(piece)
        raise AssertionError("an answer ends with Complete or an error")

    async def StreamGenerateContent(
        self, request: pb.StreamGenerateContentRequest, context: Context
    ) -> AsyncIterator[pb.StreamGenerateContentResponse]:
        caller.owner()
        started = pb.Started(request_id=caller.request_id(), trace_id=telemetry.trace_id())
        yield pb.StreamGenerateContentResponse(started=started)
        async with aclosing(self._answering.answer(_query(request.query), streamed=True)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Complete):
                    yield pb.StreamGenerateContentResponse(completed=_summary(piece))
                elif isinstance(piece, Waiting):
                    yield pb.StreamGenerateContentResponse(waiting=waiting_of(piece))
                else:
                    yield pb.StreamGenerateContentResponse(text_delta=piece)


def _query(query: pb.GenerationQuery) -> Query:
    passages = query.passages or USUAL_PASSAGES
    return Query(
        question=query.question,
        prompt=query.prompt,
        prompt_revision=query.prompt_revision,
        variables=dict(query.variables),
        collections=tuple(query.collections),
        # -1 asks for none; anything lower is refused by the query's own check
        passages=0 if passages == _NO_PASSAGES else passages,
        model=query.model,
        max_output_tokens=query.max_output_tokens,
        temperature=query.temperature if query.HasField("temperature") else None,
        end_user=query.end_user,
        personal=query.personal,
        cached=query.cache != pb.CACHE_USE_OFF,
        locale=query.locale,
        priority=query.priority,
    )


def _summary(complete: Complete) -> pb.GenerationSummary:
    return pb.GenerationSummary(
        request_id=complete.use.request_id,
        trace_id=telemetry.trace_id(),
        citations=citations_of(complete.answer.citations),
        usage=usage_of(complete.use),
        finish_reason=complete.answer.finish_reason,
    )
