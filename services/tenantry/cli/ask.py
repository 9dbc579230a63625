"""`tenantry ask`: a question, and its answer as it comes."""

import json
from typing import Annotated

import typer
from rich.console import Console

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.cli.options import Address, Key, Tenant, Variables, connected_tenant, variables
from tenantry.cli.output import as_dict, clean, console, is_terminal
from tenantry.cli.refusals import fail

_LONGEST_S = 600.0


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    prompt: Annotated[str, typer.Option(help="The prompt; `answer` unless given.")] = "",
    var: Variables = None,
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
        variables=variables(var),
        model=model,
        collections=collection or (),
        end_user=end_user,
        cache=pb.CACHE_USE_ON if cached else pb.CACHE_USE_OFF,
    )
    request = pb.StreamGenerateContentRequest(query=query)
    connection = connected_tenant(address, key, tenant)
    text = ""
    with _Waiting() as waiting:
        for event in connection.call(GatewayServiceStub, "StreamGenerateContent", request, timeout_s=_LONGEST_S):
            if event.HasField("waiting"):
                waiting.show(event.waiting)
            if event.HasField("text_delta"):
                waiting.end()
                text += event.text_delta
                if is_terminal():
                    console.print(clean(event.text_delta), end="", markup=False, soft_wrap=True)
            if event.HasField("completed"):
                _end(text, event.completed)
                return
    fail("the answer broke off before its end", "ask again")


class _Waiting:
    """A line that says where the request stands, for a person, until the answer begins."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status("")
        self._shown = False

    def __enter__(self) -> "_Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def show(self, waiting: pb.Waiting) -> None:
        if not self._console.is_terminal:
            return
        expected_s = waiting.expected_wait.ToNanoseconds() / 1e9
        about = f", about {max(1, round(expected_s))} s" if waiting.HasField("expected_wait") else ""
        self._status.update(f"waiting, place {waiting.place}{about}")
        if not self._shown:
            self._shown = True
            self._status.start()

    def end(self) -> None:
        if self._shown:
            self._shown = False
            self._status.stop()


def _end(text: str, summary: pb.GenerationSummary) -> None:
    if not is_terminal():
        print(json.dumps({"text": text, **as_dict(summary)}))
        return
    console.print("\n")
    for citation in summary.citations:
        place = f"{citation.document}: {citation.heading or citation.title}"
        console.print(f"  [{citation.number}] {clean(place)}", markup=False, soft_wrap=True)
    usage = summary.usage
    source = "from the cache" if usage.cache_hit else f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
    latency_ms = usage.latency.ToMicroseconds() / 1000
    facts = f"{usage.model}, {source}, {latency_ms:.1f} ms\nrequest {summary.request_id}, trace {summary.trace_id}"
    console.print(clean(facts), style="dim", markup=False, soft_wrap=True)
