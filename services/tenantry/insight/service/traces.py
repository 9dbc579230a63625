"""TraceService: the traces of the caller's own tenant."""

import json
from typing import Any

from grpc import aio

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.insight.v1 import trace_service_pb2 as pb
from tenantry.api.insight.v1 import trace_service_pb2_grpc as grpc_pb
from tenantry.insight.service.convert import position_of
from tenantry.insight.spans import Position, Span, Trace
from tenantry.insight.traces import TraceReading
from tenantry.kit import caller, paging
from tenantry.kit.messages import time_message

Context = aio.ServicerContext[Any, Any]


class TraceService(grpc_pb.TraceServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, traces: TraceReading) -> None:
        self._traces = traces

    async def ListTraces(self, request: pb.ListTracesRequest, context: Context) -> pb.ListTracesResponse:
        size = paging.size_of(request.page.size)
        at = position_of(request.page.token)
        before = Position(*at) if at else None
        found, more = await self._traces.page(caller.owner(), before, size)
        token = paging.token_of(more.start_ns, more.trace_id) if more else ""
        page = paging_pb2.PageResponse(next_token=token)
        return pb.ListTracesResponse(traces=[_trace(trace) for trace in found], page=page)

    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> pb.GetTraceResponse:
        trace, spans = await self._traces.get(caller.owner(), request.trace_id)
        return pb.GetTraceResponse(trace=_trace(trace), spans=[_span(span) for span in spans])


def _trace(trace: Trace) -> pb.TraceSummary:
    return pb.TraceSummary(
        trace_id=trace.trace_id,
        request_id=trace.request_id,
        name=trace.name,
        start_time=time_message(trace.start_ns),
        duration_ms=trace.duration_ns / 1e6,
        spans=trace.spans,
        failed=trace.failed,
    )


def _span(span: Span) -> pb.Span:
    return pb.Span(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        service=span.service,
        name=span.name,
        start_time=time_message(span.start_ns),
        duration_ms=span.duration_ns / 1e6,
        failed=span.failed,
        attributes=json.loads(span.attributes),
    )
