"""W3C `traceparent`, by hand: the general propagators also take baggage and cost several times more."""

import re

from opentelemetry import trace
from opentelemetry.context.context import Context

EMPTY = Context()
_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def parent(header: str | None) -> Context:
    """The context in which a server's span starts: under the sender's span, or as a new root."""
    match = _FORM.fullmatch(header) if header else None
    if match is None:
        return EMPTY
    span = trace.SpanContext(
        int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=trace.TraceFlags(int(match[3], 16))
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(span), EMPTY) if span.is_valid else EMPTY


def header(span: trace.Span) -> str | None:
    """The header that makes the receiver's span a child of `span`; None outside of any trace."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
