"""`tenantry trace`: a request's path through the services, as a tree with times."""

import time
from typing import Annotated, Any

import grpc
import typer
from rich.tree import Tree

from tenantry.api.insight.v1 import trace_service_pb2 as pb
from tenantry.api.insight.v1.trace_service_pb2_grpc import TraceServiceStub
from tenantry.cli.connection import Connection, with_refusals
from tenantry.cli.options import Address, Key, Tenant, connected
from tenantry.cli.output import console, is_terminal, show, show_all

# Spans leave their services in batches, some seconds after the answer.
_ARRIVES_WITHIN_S = 8.0
_AGAIN_S = 0.5


@with_refusals
def trace(
    trace_id: Annotated[str, typer.Argument(help="A request's or trace's id; the newest traces without one.")] = "",
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Draw a request's path through the services."""
    connection = connected(address, key, tenant)
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
        try:
            return connection.call(TraceServiceStub, "GetTrace", pb.GetTraceRequest(trace_id=trace_id))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND or time.monotonic() > deadline:
                raise
        time.sleep(_AGAIN_S)


def _tree(found: pb.GetTraceResponse) -> Tree:
    root = Tree(f"[bold]{found.trace.trace_id}[/bold]  {found.trace.duration_ms:.1f} ms")
    start = min((span.start_time.ToNanoseconds() for span in found.spans), default=0)
    nodes: dict[str, Any] = {}
    for span in found.spans:
        parent = nodes.get(span.parent_span_id, root)
        after_ms = (span.start_time.ToNanoseconds() - start) / 1e6
        colour = "red" if span.failed else "cyan"
        service = span.service.removeprefix("tenantry-")
        text = f"[{colour}]{service}[/{colour}] {span.name.rpartition('/')[2]}  [dim]+{after_ms:.1f} ms[/dim]"
        nodes[span.span_id] = parent.add(f"{text}  {span.duration_ms:.1f} ms")
    return root
