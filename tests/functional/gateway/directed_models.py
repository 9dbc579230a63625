"""A models service that a test directs: the real contract, with answers that come when and as the test says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tenantry.api.models.v1 import generation_service_pb2 as generation_pb
from tenantry.api.models.v1 import generation_service_pb2_grpc as generation_grpc
from tenantry.api.models.v1 import model_service_pb2 as model_pb
from tenantry.api.models.v1 import model_service_pb2_grpc as model_grpc
from tenantry.kit import caller
from tenantry.kit.channel import Mesh
from tenantry.kit.errors import NotFound, Reason
from tenantry.kit.server import Room

REVISION = "model-1-revision"


@dataclass
class Director:
    """What the model answers, and what it was asked. Pieces wait for `go` if it is set to be held."""

    texts: list[list[str]] = field(default_factory=lambda: [["It is ", "45 days [1]."]])
    waiting: list[generation_pb.Waiting] = field(default_factory=list[generation_pb.Waiting])
    model: str = "m-1"
    failure: Exception | None = None
    held: bool = False
    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[generation_pb.GenerationInput] = field(default_factory=list[generation_pb.GenerationInput])
    tenants: list[str] = field(default_factory=list[str])
    begun: int = 0
    cancelled: int = 0


class _Models(model_grpc.ModelServiceServicer):
    async def SelectModel(self, request: model_pb.SelectModelRequest, context: Any) -> model_pb.SelectModelResponse:
        if request.model not in ("", "m-1"):
            raise NotFound(Reason.NOT_FOUND, "there is no such model", kind="model")
        model = model_pb.Model(
            model="m-1",
            provider=model_pb.PROVIDER_OPENAI,
            provider_model="gpt-4",
            revision=REVISION,
            input_price_micros=1_000_000,
            output_price_micros=2_000_000,
            max_output_tokens=4096,
        )
        fallback = model_pb.Model(model="m-2", provider=model_pb.PROVIDER_OPENAI, provider_model="gpt-3.5-turbo")
        return model_pb.SelectModelResponse(model=model, fallbacks=["m-2"], fallback_models=[fallback])


class _Generation(generation_grpc.GenerationServiceServicer):
    def __init__(self, director: Director) -> None:
        self._director = director

    async def GenerateContent(self, request: generation_pb.GenerateContentRequest, context: Any) -> Any:
        pieces, result = [], None
        async for piece in self._answer(request.input):
            if isinstance(piece, str):
                pieces.append(piece)
            else:
                result = piece
        return generation_pb.GenerateContentResponse(text="".join(pieces), result=result)

    async def StreamGenerateContent(
        self, request: generation_pb.StreamGenerateContentRequest, context: Any
    ) -> AsyncIterator[generation_pb.StreamGenerateContentResponse]:
        for waiting in self._director.waiting:
            yield generation_pb.StreamGenerateContentResponse(waiting=waiting)
        async for piece in self._answer(request.input):
            if isinstance(piece, str):
                yield generation_pb.StreamGenerateContentResponse(text_delta=piece)
            else:
                yield generation_pb.StreamGenerateContentResponse(result=piece)

    async def _answer(self, given: generation_pb.GenerationInput) -> AsyncIterator[Any]:
        director = self._director
        director.asked.append(given)
        director.tenants.append(caller.owner().id)
        texts = director.texts[min(len(director.asked), len(director.texts)) - 1]
        director.begun += 1
        try:
            yield texts[0]
            if director.held:
                await director.go.wait()
            if director.failure is not None:
                raise director.failure
            for text in texts[1:]:
                yield text
        except (asyncio.CancelledError, GeneratorExit):
            director.cancelled += 1
            raise
        yield generation_pb.GenerationResult(
            provider="openai",
            model=director.model,
            model_revision="m-1-2026",
            input_tokens=100,
            output_tokens=10,
            cost_micros=120,
            finish_reason=generation_pb.FINISH_REASON_STOP,
        )


@asynccontextmanager
async def build(director: Director, mesh: Mesh) -> AsyncGenerator[Room]:
    """The room."""
    yield Room(
        "models",
        [
            (model_grpc.add_ModelServiceServicer_to_server, _Models()),  # pyright: ignore[reportAbstractUsage]  # the pipeline asks no more of it
            (generation_grpc.add_GenerationServiceServicer_to_server, _Generation(director)),
        ],
    )
