"""OTLP's TraceService: spans from the services of the mesh, whose identity kit has checked; a tenant's key gets nowhere."""

from collections.abc import Iterator
from typing import Any

from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as grpc_pb
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from tenantry.insight.intake import Intake
from tenantry.insight.spans import Reported, Value
from tenantry.kit.errors import InvalidArgument, Reason

MOST_SPANS = 4096
_MOST_ATTRIBUTES = 64
_MOST_VALUES = 8
_FULL = "too many spans wait to be written"


class ExportService(grpc_pb.TraceServiceServicer):
    """Queues what comes; nothing of it is read before the queue's writer does."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def Export(
        self, request: pb.ExportTraceServiceRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ExportTraceServiceResponse:
        spans = sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
        if spans > MOST_SPANS:
            message = f"has {spans} spans, which is more than {MOST_SPANS}"
            raise InvalidArgument("resource_spans", message, reason=Reason.TOO_LARGE)
        if self._intake.offer(spans, request.ByteSize(), lambda: list(_reported(request))):
            return pb.ExportTraceServiceResponse()
        rejected = pb.ExportTracePartialSuccess(rejected_spans=spans, error_message=_FULL)
        return pb.ExportTraceServiceResponse(partial_success=rejected)


def _reported(request: pb.ExportTraceServiceRequest) -> Iterator[Reported]:
    for resource in request.resource_spans:
        service = next((_text(pair.value) for pair in resource.resource.attributes if pair.key == "service.name"), "")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _span(span, service)


def _span(span: trace_pb2.Span, service: str) -> Reported:
    attributes = tuple((pair.key, _value(pair.value)) for pair in span.attributes[:_MOST_ATTRIBUTES])
    return Reported(
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        service,
        span.name,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        attributes,
    )


def _value(value: common_pb2.AnyValue) -> Value:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return ", ".join(one.string_value for one in value.array_value.values[:_MOST_VALUES])
    if kind in ("string_value", "bool_value", "int_value", "double_value"):
        return getattr(value, kind)
    return None


def _text(value: common_pb2.AnyValue) -> str:
    return value.string_value
