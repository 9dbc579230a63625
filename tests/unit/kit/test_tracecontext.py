"""The trace that travels: taken over as it came, and costing nothing when nobody records it."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tenantry.kit import telemetry, tracecontext

TRACE, SPAN = "a" * 32, "b" * 16
SERVER = trace.SpanKind.SERVER


@pytest.fixture
def recorded() -> Iterator[InMemorySpanExporter]:
    memory = InMemorySpanExporter()
    telemetry.start(0.0, [memory])
    yield memory
    telemetry.stop()


def test_a_recorded_trace_goes_on_under_its_sender(recorded: InMemorySpanExporter) -> None:
    parent = tracecontext.parent(f"00-{TRACE}-{SPAN}-01")
    span = telemetry.start_span("prompts", "Render", parent, SERVER, {})
    span.end()
    telemetry.flush()
    (made,) = recorded.get_finished_spans()
    assert made.parent is not None
    assert f"{made.parent.span_id:016x}" == SPAN
    assert made.context is not None
    assert tracecontext.header(span) == f"00-{TRACE}-{made.context.span_id:016x}-01"


def test_an_unrecorded_trace_has_one_span_for_all_and_keeps_its_id(recorded: InMemorySpanExporter) -> None:
    header = f"00-{TRACE}-{SPAN}-00"
    parent = tracecontext.parent(header)
    span = telemetry.start_span("prompts", "Render", parent, SERVER, {})
    with trace.use_span(span), telemetry.span("inner"):
        assert telemetry.trace_id() == TRACE
        telemetry.set_tenant("acme", "pro")
    span.end()
    telemetry.flush()
    assert span is parent
    assert tracecontext.header(span) == header
    assert not recorded.get_finished_spans()


def test_a_root_that_is_not_recorded_still_has_an_id(recorded: InMemorySpanExporter) -> None:
    span = telemetry.start_span("gateway", "edge", trace.INVALID_SPAN, SERVER, {})
    context = span.get_span_context()
    assert context.is_valid
    assert not context.trace_flags.sampled
    header = tracecontext.header(span)
    assert header is not None
    assert tracecontext.parent(header).get_span_context() == context


@pytest.mark.parametrize(
    "header", [None, "", "junk", f"00-{'0' * 32}-{SPAN}-00", f"00-{TRACE}-{'0' * 16}-01", f"01-{TRACE}-{SPAN}-01"]
)
def test_what_is_no_trace_begins_a_new_one(header: str | None) -> None:
    assert tracecontext.parent(header) is trace.INVALID_SPAN
