"""`tenantry trace`: a request's path through the services, as a tree with times."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import grpc
import typer
from rich.markup import escape
from rich.tree import Tree

from tenantry.api.insight.v1 import trace_service_pb2 as pb
from tenantry.api.insight.v1.trace_service_pb2_grpc import TraceServiceStub
from tenantry.cli.connection import Connection
from tenantry.cli.options import Address, Key, Tenant, connected_tenant
from tenantry.cli.output import clean, console, is_terminal, show, show_all

# Spans leave their services in batches, some seconds after the answer.
_ARRIVES_WITHIN_S = 8.0
_AGAIN_S = 0.5


def trace(
    trace_id: Annotated[str, typer.Argument(help="A request's or trace's id; the newest traces without one.")] = "",
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Draw a request's path through the services."""
    connection = connected_tenant(address, key, tenant)
    if not trace_id:
        listed = connection.call(TraceServiceStub, "ListTraces", pb.ListTracesRequest())
        show_all(listed.traces, ("trace_id", "request_id", "name", "start_time", "duration_ms", "spans", "failed"))
        return
    found = _get(connection, trace_id)
    if not is_terminal():
        show(found)
        return
    console.print(_tree(found))


def _get(connection: Connection, trace_id: str) -> pb.GetTraceResponse:
    deadline = time.monotonic() + _ARRIVES_WITHIN_S
    while True:
        late = time.monotonic() > deadline
        try:
            found = connection.call(TraceServiceStub, "GetTrace", pb.GetTraceRequest(trace_id=trace_id))
            # The root ends last, so its service may send it last.
            if late or any(not span.parent_span_id for span in found.spans):
                return found
        except grpc.RpcError as error:
            if late or error.code() != grpc.StatusCode.NOT_FOUND:
                raise
        time.sleep(_AGAIN_S)


def _tree(found: pb.GetTraceResponse) -> Tree:
    root = Tree(f"[bold]{found.trace.trace_id}[/bold]  {found.trace.duration_ms:.1f} ms")
    start = min((span.start_time.ToNanoseconds() for span in found.spans), default=0)
    nodes: dict[str, Any] = {}
    for span in _parents_first(found.spans):
        parent = nodes.get(span.parent_span_id, root)
        after_ms = (span.start_time.ToNanoseconds() - start) / 1e6
        colour = "red" if span.failed else "cyan"
        service = escape(clean(span.service.removeprefix("tenantry-")))
        name = escape(clean(span.name.rpartition("/")[2]))
        text = f"[{colour}]{service}[/{colour}] {name}  [dim]+{after_ms:.1f} ms[/dim]"
        nodes[span.span_id] = parent.add(f"{text}  {span.duration_ms:.1f} ms")
    return root


def _parents_first(spans: Sequence[pb.Span]) -> list[pb.Span]:
    """The spans by their depth, then by time: clocks of two processes differ, so time alone may put a child first."""
    parents = {span.span_id: span.parent_span_id for span in spans}

    def depth(span_id: str) -> int:
        steps = 0
        while (span_id := parents.get(span_id, "")) in parents and steps < len(parents):
            steps += 1
        return steps

    return sorted(spans, key=lambda span: (depth(span.span_id), span.start_time.ToNanoseconds()))
