"""W3C `traceparent`, by hand: the general propagators also take baggage and cost several times more."""

import random
import re

from opentelemetry import trace
from opentelemetry.context.context import Context

EMPTY = Context()
_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Unrecorded(trace.NonRecordingSpan):
    """The span of a trace that nobody records: one for all its services, since a span more would say nothing.

    Most traces are of this kind, so it is no more than the header that travels.
    """

    def __init__(self, header: str) -> None:
        # Not super().__init__: the context is read from the header by those few who want it.
        self.header = header

    def get_span_context(self) -> trace.SpanContext:
        return trace.SpanContext(int(self.header[3:35], 16), int(self.header[36:52], 16), is_remote=True)

    def __repr__(self) -> str:
        return f"Unrecorded({self.header!r})"


def unrecorded_root() -> Unrecorded:
    """A new trace that nobody records; its id is still good for logs and answers."""
    return Unrecorded(f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-00")


def parent(header: str | None) -> trace.Span:
    """The sender's span, under which a server's span starts; INVALID_SPAN for a new root."""
    match = _FORM.fullmatch(header) if header else None
    if header is None or match is None:
        return trace.INVALID_SPAN
    flags = int(match[3], 16)
    if not flags & trace.TraceFlags.SAMPLED:
        valid = match[1].strip("0") and match[2].strip("0")
        return Unrecorded(header) if valid else trace.INVALID_SPAN
    context = trace.SpanContext(
        int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=trace.TraceFlags(flags)
    )
    return trace.NonRecordingSpan(context) if context.is_valid else trace.INVALID_SPAN


def links(header: str | None) -> tuple[trace.Link, ...]:
    """The trace that a client says it has, linked, since nobody continues it."""
    theirs = parent(header).get_span_context()
    return (trace.Link(theirs),) if theirs.is_valid else ()


def header(span: trace.Span) -> str | None:
    """The header that makes the receiver's span a child of `span`; None outside of any trace."""
    if isinstance(span, Unrecorded):
        return span.header
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
