"""`tenantry ask`: a question, and its answer as it comes."""

import json
from typing import Annotated

import typer

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.cli.connection import with_refusals
from tenantry.cli.options import Address, Key, Tenant, connected
from tenantry.cli.output import as_dict, console, is_terminal


@with_refusals
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    prompt: Annotated[str, typer.Option(help="The prompt; `answer` unless given.")] = "",
    model: Annotated[str, typer.Option(help="The model; the policy's choice unless given.")] = "",
    collection: Annotated[list[str] | None, typer.Option(help="Search this collection. May be repeated.")] = None,
    end_user: Annotated[str, typer.Option(help="Your own id of the user who asks.")] = "",
    cached: Annotated[bool, typer.Option("--cache/--no-cache", help="Whether the cache may answer.")] = True,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Ask a question of a tenant's documents."""
    query = pb.GenerationQuery(
        question=question,
        prompt=prompt,
        model=model,
        collections=collection or (),
        end_user=end_user,
        cache=pb.CACHE_USE_ON if cached else pb.CACHE_USE_OFF,
    )
    request = pb.StreamGenerateContentRequest(query=query)
    events = connected(address, key, tenant).call(GatewayServiceStub, "StreamGenerateContent", request, timeout_s=600)
    text = ""
    for event in events:
        if event.HasField("text_delta"):
            text += event.text_delta
            if is_terminal():
                console.print(event.text_delta, end="", markup=False, soft_wrap=True)
        if event.HasField("completed"):
            _end(text, event.completed)


def _end(text: str, summary: pb.GenerationSummary) -> None:
    if not is_terminal():
        print(json.dumps({"text": text, **as_dict(summary)}))
        return
    console.print("\n")
    for citation in summary.citations:
        console.print(f"  [{citation.number}] {citation.document}: {citation.heading or citation.title}", markup=False)
    usage = summary.usage
    source = "from the cache" if usage.cache_hit else f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
    latency_ms = usage.latency.ToMicroseconds() / 1000
    console.print(f"[dim]{usage.model}, {source}, {latency_ms:.1f} ms; request {summary.request_id}[/dim]")
