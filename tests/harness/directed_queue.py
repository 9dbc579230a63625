"""A quota service whose queue a test directs: the real contract, with places that come when and as the test says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.duration_pb2 import Duration

from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.api.quota.v1.queue_service_pb2_grpc import (
    FairQueueServiceServicer,
    add_FairQueueServiceServicer_to_server,
)
from tenantry.kit.channel import Mesh
from tenantry.kit.host import Hosted
from tenantry.kit.server import Room


@dataclass
class QueueDirector:
    """What calls asked for and said. Places wait for `go` when they are held, and calls are told the `standings`; `failure` is
    raised instead of one, and `broken` ends streams that were granted."""

    held: bool = False
    standings: list[pb.SlotWaiting] = field(default_factory=lambda: [pb.SlotWaiting(place=1)])
    go: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    broken: Exception | None = None
    life_s: float = 5.0
    begun: list[pb.SlotBegin] = field(default_factory=list[pb.SlotBegin])
    progress: list[int] = field(default_factory=list[int])
    ends: list[pb.SlotEnd] = field(default_factory=list[pb.SlotEnd])
    running: int = 0

    def hosted(self) -> Hosted:
        """The service, to be hosted beside the one that is tested."""
        return Hosted("quota", _build, self)


class _Queue(FairQueueServiceServicer):
    def __init__(self, director: QueueDirector) -> None:
        self._director = director

    async def AcquireSlot(
        self, request_iterator: AsyncIterator[pb.AcquireSlotRequest], context: Any
    ) -> AsyncIterator[pb.AcquireSlotResponse]:
        director = self._director
        first = await anext(request_iterator)
        director.begun.append(first.begin)
        if director.failure is not None:
            raise director.failure
        if director.held:
            for standing in director.standings:
                yield pb.AcquireSlotResponse(waiting=standing)
            await director.go.wait()
        life = Duration()
        life.FromNanoseconds(round(director.life_s * 1e9))
        lease = pb.Lease(pool=first.begin.pool, ticket=f"slot_{len(director.begun)}", epoch="e", life=life)
        director.running += 1
        try:
            yield pb.AcquireSlotResponse(granted=first.begin.lease if first.begin.HasField("lease") else lease)
            if director.broken is not None:
                raise director.broken
            async for request in request_iterator:
                if request.HasField("progress"):
                    director.progress.append(request.progress.output_tokens)
                else:
                    director.ends.append(request.end)
        finally:
            director.running -= 1


@asynccontextmanager
async def _build(director: QueueDirector, mesh: Mesh) -> AsyncGenerator[Room]:
    servicer: Any = _Queue  # its other RPCs are the contract's own: not implemented
    yield Room("quota", [(add_FairQueueServiceServicer_to_server, servicer(director))])
