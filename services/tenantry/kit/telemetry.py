"""Traces, metrics and JSON logs that say whose they are, and never what was asked or answered.

Every span gets the tenant, tier and request of the call in whose context it starts; where those are learnt later
(authentication), `set_tenant` adds them before the span ends. Each hosted service has a tracer of its own, so that a
trace names the services also when one process hosts them all.
"""

import asyncio
import json
import logging
import random
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.util.types import AttributeValue

from tenantry.kit import call, faults, tracecontext

TENANT = "tenantry.tenant.id"
TIER = "tenantry.tier"
REQUEST_ID = "tenantry.request.id"
_EXPORT_WAIT_S = 5.0
_QUEUED_SPANS = 8192
_EXTRA = frozenset(
    {"error_id", "error_type", "places", "causes", "reason", "subject", "count", "tenant", "limit", "percent", "whose"}
)

meter = metrics.get_meter("tenantry")
_tracers: dict[str, trace.Tracer] = {}
_processors: list[SpanProcessor] = []
_metrics: list[MeterProvider] = []
# The share of new traces that are recorded. Whether the spans under a root are is the root's affair.
_share = 1.0
_SAMPLER = ParentBased(ALWAYS_ON)
# The tracer of a process without telemetry (a test of a use case, a command): its spans record nothing.
_silent = trace.NoOpTracer()


class _Owner(SpanProcessor):
    """Marks each span with whose it is, when it starts."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        current = call.CURRENT.get()
        if current.request_id:
            span.set_attribute(REQUEST_ID, current.request_id)
        if current.caller is not None:
            mark(span, current.caller.tenant, current.caller.tier)


class MeshExporter(SpanExporter):
    """Sends spans to insight over the mesh. Called from the batch's thread; the call itself runs on the loop."""

    def __init__(self, stub: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._stub = stub
        self._loop = loop

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._loop.is_closed():
            return SpanExportResult.FAILURE
        try:
            sent = asyncio.run_coroutine_threadsafe(self._send(spans), self._loop)
            sent.result(_EXPORT_WAIT_S)
        except Exception:
            # Spans are best effort: their loss must not reach a request, and insight being away is seen elsewhere.
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    async def _send(self, spans: Sequence[ReadableSpan]) -> ExportTraceServiceResponse:
        return await self._stub.Export(encode_spans(spans), timeout=_EXPORT_WAIT_S)


def start(trace_ratio: float, exporters: Sequence[SpanExporter], metric_readers: Sequence[MetricReader] = ()) -> None:
    """Begins to record: a share of new traces (0 to 1), each span to every exporter from a bounded queue."""
    global _share  # noqa: PLW0603 - telemetry is one a process
    _share = trace_ratio
    _processors[:] = [_Owner(), *(BatchSpanProcessor(one, max_queue_size=_QUEUED_SPANS) for one in exporters)]
    _tracers.clear()
    if metric_readers:
        _metrics.append(MeterProvider(metric_readers=metric_readers, shutdown_on_exit=False))
        metrics.set_meter_provider(_metrics[-1])


def stop() -> None:
    """Sends what is queued and records no more. Blocks for at most some seconds: call it in a thread."""
    for processor in _processors:
        processor.shutdown()
    for provider in _metrics:
        provider.shutdown()
    _metrics.clear()
    _processors.clear()
    _tracers.clear()


def flush() -> None:
    """Sends what is queued. Blocks: call it in a thread."""
    for processor in _processors:
        processor.force_flush()


def tracer(service: str) -> trace.Tracer:
    """The tracer of one hosted service."""
    if not _processors:
        return _silent
    if service not in _tracers:
        provider = TracerProvider(
            sampler=_SAMPLER, resource=Resource({"service.name": f"tenantry-{service}"}), shutdown_on_exit=False
        )
        for processor in _processors:
            provider.add_span_processor(processor)
        _tracers[service] = provider.get_tracer("tenantry")
    return _tracers[service]


def start_span(
    service: str,
    name: str,
    parent: trace.Span,
    kind: trace.SpanKind,
    attributes: Mapping[str, AttributeValue],
    links: Sequence[trace.Link] = (),
) -> trace.Span:
    """A span of a hosted service under `parent`; under INVALID_SPAN the root of a new trace, recorded or not."""
    if not _processors:
        return _silent.start_span(name, trace.set_span_in_context(parent, tracecontext.EMPTY))
    if isinstance(parent, tracecontext.Unrecorded):
        return parent
    if parent is trace.INVALID_SPAN and random.random() >= _share:
        return tracecontext.unrecorded_root()
    return tracer(service).start_span(
        name,
        trace.set_span_in_context(parent, tracecontext.EMPTY),
        kind,
        attributes,
        links,
        record_exception=False,
        set_status_on_exception=False,
    )


@contextmanager
def span(name: str, **attributes: AttributeValue) -> Generator[trace.Span]:
    """A piece of work inside the current call. An exception marks it failed by its type; its words are not recorded."""
    around = trace.get_current_span()
    current = start_span(call.CURRENT.get().service, name, around, trace.SpanKind.INTERNAL, attributes)
    if current is around:
        yield current
        return
    with trace.use_span(current, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield current
        except BaseException as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def mark(span: trace.Span, tenant: str, tier: str) -> None:
    """Says whose a span is."""
    if tenant:
        span.set_attribute(TENANT, tenant)
    if tier:
        span.set_attribute(TIER, tier)


def set_tenant(tenant: str, tier: str) -> None:
    """Says whose the current span is, once that is known."""
    mark(trace.get_current_span(), tenant, tier)


def trace_id() -> str:
    """The current trace's id in 32 hex digits, empty outside of a trace."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


class _JsonLines(logging.Formatter):
    """A log record as one JSON object, with whose it is. Of an exception, its type and places, not its words."""

    def format(self, record: logging.LogRecord) -> str:
        current = call.CURRENT.get()
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "service": current.service,
            "logger": record.name,
            "message": record.getMessage(),
            "tenant": current.caller.tenant if current.caller else "",
            "request_id": current.request_id,
            "trace_id": trace_id(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error_type"] = type(record.exc_info[1]).__name__
            line["places"] = faults.places(record.exc_info[1])
        # What a log call adds in `extra`, by the names that kit.faults uses.
        line |= {name: value for name, value in vars(record).items() if name in _EXTRA}
        return json.dumps({name: value for name, value in line.items() if value != ""})


def log_json(level: str) -> None:
    """Sends the log to standard error as JSON lines. Libraries are heard from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("tenantry").setLevel(level)
