"""A served insight beside a quota whose outbox a test fills, and what tests do with them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub as ExportStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.common.v1.usage_pb2 import OUTCOME_OK, Usage
from tenantry.api.insight.v1 import trace_service_pb2, usage_service_pb2
from tenantry.api.insight.v1.trace_service_pb2_grpc import TraceServiceStub
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.quota.v1 import settlement_service_pb2 as pb
from tenantry.api.quota.v1.settlement_service_pb2_grpc import (
    SettlementServiceServicer,
    add_SettlementServiceServicer_to_server,
)
from tenantry.insight import server
from tenantry.insight.settings import Settings
from tenantry.insight.spans import Bounds
from tenantry.kit.channel import Mesh
from tenantry.kit.errors import NotFound, Reason, Unavailable
from tenantry.kit.host import Hosted
from tenantry.kit.server import Room
from tests.harness.poll import until
from tests.harness.room import Kind, Served, caller_of, served

MINE = caller_of(scopes={"usage.read", "traces.read"})
THEIRS = caller_of("globex", "globex-org", scopes={"usage.read", "traces.read"}, key_id="key_2")
OPERATOR = caller_of("", "", scopes={"usage.read", "traces.read"})


@dataclass
class ScriptedOutbox(SettlementServiceServicer):
    """One bucket of an outbox: what is not acknowledged is sent to each stream. `away`: streams fail at once."""

    entries: list[pb.SettledUsage] = field(default_factory=list)
    acknowledged: int = 0
    streams: int = 0
    away: bool = False
    # Ends a stream after so many batches, before it reads their acknowledgement.
    cut_after: int = 0
    first_messages: list[pb.StreamSettledUsageRequest] = field(default_factory=list)

    async def StreamSettledUsage(
        self, request_iterator: AsyncIterator[pb.StreamSettledUsageRequest], context: Any
    ) -> AsyncIterator[pb.StreamSettledUsageResponse]:
        self.streams += 1
        if self.away:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "the books are away")
        self.first_messages.append(await anext(request_iterator))
        reading = asyncio.ensure_future(self._read(request_iterator))
        sent, batches = self.acknowledged, 0
        try:
            while not reading.done() and not self.away:
                if sent < len(self.entries):
                    page = self.entries[sent : sent + 3]
                    sent += len(page)
                    batches += 1
                    cursor = pb.SettlementCursor(bucket=3, epoch="books-1", position=f"{sent}-0")
                    yield pb.StreamSettledUsageResponse(entries=page, cursor=cursor)
                    if batches == self.cut_after:
                        return
                await asyncio.sleep(0.005)
        finally:
            reading.cancel()
        if self.away:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "the books are away")

    async def _read(self, requests: AsyncIterator[pb.StreamSettledUsageRequest]) -> None:
        async for request in requests:
            for cursor in request.cursors:
                if self.cut_after == 0:
                    self.acknowledged = max(self.acknowledged, int(cursor.position.partition("-")[0]))


@dataclass(frozen=True, slots=True)
class Insight:
    """A served insight with the tenants acme and globex, and the outbox that it reads."""

    room: Served
    outbox: ScriptedOutbox

    @property
    def usage(self) -> UsageServiceStub:
        return UsageServiceStub(self.room.channel("insight"))

    @property
    def traces(self) -> TraceServiceStub:
        return TraceServiceStub(self.room.channel("insight"))

    @property
    def lifecycle(self) -> LifecycleServiceStub:
        return LifecycleServiceStub(self.room.channel("insight", service="tenancy"))

    async def export(self, *spans: Span, service: str = "gateway") -> Any:
        """Sends spans as a service of the mesh does."""
        return await ExportStub(self.room.channel("insight", service=service)).Export(report(spans, service))

    async def settled(self, *entries: pb.SettledUsage) -> None:
        """Puts entries into the outbox, and returns when all are acknowledged."""
        self.outbox.entries += entries
        await until(lambda: self.outbox.acknowledged == len(self.outbox.entries), what="all being acknowledged")

    async def shown(self, trace_id: str, caller: Any = MINE, spans: int = 1) -> trace_service_pb2.GetTraceResponse:
        """The trace, once it has so many spans."""
        found: list[trace_service_pb2.GetTraceResponse] = []

        async def there() -> bool:
            with self.room.calling(caller):
                try:
                    answer = await self.traces.GetTrace(trace_service_pb2.GetTraceRequest(trace_id=trace_id))
                except NotFound:
                    return False
            found.append(answer)
            return answer.trace.spans >= spans

        await until(there, what="the trace being shown")
        return found[-1]

    async def listed(self, size: int = 100) -> list[str]:
        """The request ids of the listed traces that tests exported; the room's own spans come sometimes too."""
        request = trace_service_pb2.ListTracesRequest(page=paging_pb2.PageRequest(size=size))
        seen: list[str] = []
        with self.room.calling(MINE):
            while True:
                answer = await self.traces.ListTraces(request)
                assert len(answer.traces) <= size
                seen += [trace.request_id for trace in answer.traces if trace.name.startswith("work")]
                if not answer.page.next_token:
                    return seen
                request.page.token = answer.page.next_token

    async def total(self, caller: Any = MINE, **asked: Any) -> usage_service_pb2.UsageSum:
        """The total of GetUsage."""
        with self.room.calling(caller):
            return (await self.usage.GetUsage(usage_service_pb2.GetUsageRequest(**asked))).total


def settled(reservation: str, tenant: str = "acme", **given: Any) -> pb.SettledUsage:
    """An entry of the outbox, settled now; `given` are fields of its usage, or `estimated`, `end_user`, `key_id`."""
    about = {name: given.pop(name) for name in ("estimated", "end_user", "key_id") if name in given}
    usage: dict[str, Any] = {"input_tokens": 10, "output_tokens": 5, "cost_micros": 7, "model": "gpt"}
    usage |= {"outcome": OUTCOME_OK, "request_id": f"req_{reservation}"} | given
    now = Timestamp()
    now.GetCurrentTime()
    return pb.SettledUsage(
        reservation=reservation,
        organisation=f"{tenant}-org",
        tenant=tenant,
        settle_time=now,
        usage=Usage(**usage),
        **about,
    )


def span(number: int, trace: int = 1, tenant: str = "acme", failed: bool = False, **attributes: str) -> Span:
    """Span `number` of a trace, a child of number 1; names of attributes have `__` for a dot."""
    named = {"tenantry.tenant.id": tenant, "tenantry.request.id": f"req_{trace}"} if tenant else {}
    named |= {name.replace("__", "."): value for name, value in attributes.items()}
    code = Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_OK
    return Span(
        trace_id=trace.to_bytes(16),
        span_id=number.to_bytes(8),
        parent_span_id=b"" if number == 1 else (1).to_bytes(8),
        name=f"work {number}",
        start_time_unix_nano=1_700_000_000_000_000_000 + trace * 1_000_000 + number,
        end_time_unix_nano=1_700_000_000_005_000_000 + trace * 1_000_000 + number,
        attributes=[KeyValue(key=name, value=AnyValue(string_value=value)) for name, value in named.items()],
        status=Status(code=code),
    )


def report(spans: Sequence[Span], service: str) -> ExportTraceServiceRequest:
    """An export of these spans."""
    name = KeyValue(key="service.name", value=AnyValue(string_value=f"tenantry-{service}"))
    scopes = [ScopeSpans(spans=spans)]
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=Resource(attributes=[name]), scope_spans=scopes)]
    )


@asynccontextmanager
async def insight_and_quota(
    state: Path, kind: Kind, outbox: ScriptedOutbox | None = None, bounds: Bounds | None = None
) -> AsyncGenerator[Insight]:
    """Serves both and onboards two tenants."""
    outbox = outbox or ScriptedOutbox()

    @asynccontextmanager
    async def build_quota(settings: None, mesh: Mesh) -> AsyncGenerator[Room]:
        yield Room("quota", [(add_SettlementServiceServicer_to_server, outbox)])

    settings = Settings(f"sqlite:///{state}/insight.db", bounds or Bounds())
    hosted = Hosted("insight", server.build, settings), Hosted("quota", build_quota, None)
    async with served(*hosted, state=state, kind=kind) as room:
        insight = Insight(room, outbox)
        for tenant in ("acme", "globex"):
            request = ProvisionTenantRequest(tenant=tenant, organisation=f"{tenant}-org", tier="pro")
            await insight.lifecycle.ProvisionTenant(request)
        yield insight
