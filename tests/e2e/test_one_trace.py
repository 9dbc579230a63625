"""A request through eight processes gives one trace, whose spans all carry the tenant when they end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tenantry.api.insight.v1 import trace_service_pb2 as trace_pb
from tenantry.api.insight.v1.trace_service_pb2_grpc import TraceServiceStub
from tests.e2e.conftest import Client, client_of
from tests.harness.jaeger import jaeger
from tests.harness.left_out import require
from tests.harness.mesh import running_mesh, stub_of
from tests.harness.otlp import Collector, attribute, collector
from tests.harness.poll import until

# Of a generation that is no cache hit: insight only takes the spans.
SERVICES = {"gateway", "tenancy", "prompts", "models", "quota", "cache", "retrieval"}
TENANT, TIER, REQUEST = "tenantry.tenant.id", "tenantry.tier", "tenantry.request.id"
VAULT = {"vault": "# Vault\n\nThe vault opens at nine."}
# What happens after the answer is part of its trace.
LAST = ("CommitReservation", "StoreEntry")


def is_whole(names: set[str], services: set[str]) -> bool:
    """Whether the last that happens is there too."""
    return services >= SERVICES and all(any(name.endswith(last) for name in names) for last in LAST)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Collector]]:
    """A tenant's client of eight processes, and the collector that hears of their spans beside insight."""
    state = tmp_path_factory.mktemp("traced") / "state"
    with (
        collector() as taken,
        running_mesh("processes", state, envoy=False, TENANTRY_OTLP_ENDPOINT=taken.endpoint) as mesh,
    ):
        yield client_of(mesh, "traced", VAULT), taken


@pytest.mark.timeout(180)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_eight_processes_give_one_trace_in_insights_own_store(
    traced: tuple[Client, Collector], streamed: bool
) -> None:
    client, taken = traced
    question = f"When does the vault open?{' Now?' * streamed}"  # no cache hit
    if streamed:
        summary = list(client.stream(question, end_user="ann"))[-1].completed
    else:
        summary = client.ask(question, end_user="ann").summary
    stub = stub_of(TraceServiceStub, client.channel)

    def found() -> Any:
        try:
            return stub.GetTrace(trace_pb.GetTraceRequest(trace_id=summary.trace_id))
        except grpc.RpcError:
            return trace_pb.GetTraceResponse()

    def kept() -> bool:
        spans = found().spans
        return is_whole({one.name for one in spans}, {one.service.removeprefix("tenantry-") for one in spans})

    await until(kept, within_s=30, every_s=0.3, what="the whole trace in insight's store")
    trace = found()
    ids = {one.span_id for one in trace.spans}
    assert [one.name for one in trace.spans if not one.parent_span_id] == [trace.trace.name]
    assert {one.parent_span_id for one in trace.spans if one.parent_span_id} <= ids
    for span in trace.spans:
        assert span.attributes[TENANT] == client.keys.tenant, span
        assert span.attributes[REQUEST] == summary.request_id, span
    assert any(one.name.endswith("AuthenticateCaller") for one in trace.spans)
    # The same spans went to the other collector.
    await until(lambda: {one.span_id.hex() for _, one in taken.spans(summary.trace_id)} >= ids, within_s=15)
    for _, span in taken.spans(summary.trace_id):
        assert attribute(span, TENANT) == client.keys.tenant, span
        assert attribute(span, TIER) == "enterprise", span


@pytest.mark.timeout(180)
@pytest.mark.needs("jaeger")
async def test_eight_processes_give_one_trace_in_the_real_jaeger(tmp_path: Path) -> None:
    binary = require("jaeger")
    if "://" in binary:
        pytest.skip("left out: TENANTRY_JAEGER_URL names one that runs, whose OTLP address is not known")
    with (
        jaeger(binary, tmp_path) as shown,
        running_mesh("processes", tmp_path / "state", envoy=False, TENANTRY_OTLP_ENDPOINT=shown.otlp) as mesh,
    ):
        client = client_of(mesh, "traced", VAULT)
        summary = client.ask("When does the vault open?").summary

        def kept() -> bool:
            spans = shown.trace(summary.trace_id)
            names = {one["operationName"] for one in spans}
            return is_whole(names, {one["service"].removeprefix("tenantry-") for one in spans})

        await until(kept, within_s=30, every_s=0.3, what="the whole trace in Jaeger")
        spans = shown.trace(summary.trace_id)
        assert {one["tags"][TENANT] for one in spans} == {client.keys.tenant}
        assert {one["tags"][REQUEST] for one in spans} == {summary.request_id}
        roots = [one for one in spans if not one["references"]]
        assert len(roots) == 1 and roots[0]["operationName"].startswith("edge ")
        assert any(one["operationName"].endswith("AuthenticateCaller") for one in spans)
