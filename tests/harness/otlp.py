"""A collector for tests: takes spans and metrics by OTLP over gRPC and keeps them."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as grpc_pb
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Collector(grpc_pb.TraceServiceServicer):
    """What came in. `endpoint` is its address, for TENANTRY_OTLP_ENDPOINT and TENANTRY_OTLP_METRICS_ENDPOINT."""

    endpoint: str = ""
    requests: list[pb.ExportTraceServiceRequest] = field(default_factory=list)
    metrics: list[metrics_pb.ExportMetricsServiceRequest] = field(default_factory=list)

    def Export(self, request: pb.ExportTraceServiceRequest, context: Any) -> pb.ExportTraceServiceResponse:
        self.requests.append(request)
        return pb.ExportTraceServiceResponse()

    def spans(self, trace_id: str = "") -> list[tuple[str, Span]]:
        """Each span with its service, of one trace if one is named."""
        found: list[tuple[str, Span]] = []
        for request in tuple(self.requests):
            for resource in request.resource_spans:
                service = next(
                    (one.value.string_value for one in resource.resource.attributes if one.key == "service.name"), ""
                )
                for scope in resource.scope_spans:
                    found += [(service, span) for span in scope.spans if trace_id in ("", span.trace_id.hex())]
        return found


@dataclass
class _Metrics(metrics_grpc_pb.MetricsServiceServicer):
    taken: list[metrics_pb.ExportMetricsServiceRequest]

    def Export(
        self, request: metrics_pb.ExportMetricsServiceRequest, context: Any
    ) -> metrics_pb.ExportMetricsServiceResponse:
        self.taken.append(request)
        return metrics_pb.ExportMetricsServiceResponse()


def attribute(span: Span, name: str) -> str:
    """A text attribute of a span, empty if it has none."""
    return next((one.value.string_value for one in span.attributes if one.key == name), "")


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port while the block runs."""
    taken = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    grpc_pb.add_TraceServiceServicer_to_server(taken, server)
    metrics_grpc_pb.add_MetricsServiceServicer_to_server(_Metrics(taken.metrics), server)
    taken.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield taken
    finally:
        server.stop(1.0).wait()
