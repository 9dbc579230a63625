"""The main job: a question, answered from one tenant's own documents, through every service."""

import secrets
import time
from typing import Any

import grpc
import pytest

from tenantry.api.common.v1 import usage_pb2
from tenantry.api.insight.v1 import trace_service_pb2 as trace_pb
from tenantry.api.insight.v1 import usage_service_pb2 as usage_pb
from tenantry.api.insight.v1.trace_service_pb2_grpc import TraceServiceStub
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tests.e2e.conftest import Client, client_of, questions, register
from tests.harness.mesh import RunningMesh, stub_of
from tests.harness.poll import until
from tests.harness.provider import ProviderServer, Reply

# What a generation that is no cache hit goes through.
SERVICES = {"gateway", "tenancy", "prompts", "models", "quota", "cache", "retrieval"}


@pytest.mark.parametrize("asked", questions(), ids=lambda one: one["question"])
def test_each_tenant_gets_its_own_answer_with_citations_of_its_own_documents(
    demo: dict[str, Client], asked: dict[str, Any]
) -> None:
    for name, client in demo.items():
        answer = client.ask(asked["question"])
        expected = asked[name]
        cited = {one.document for one in answer.summary.citations}
        if expected is None:
            others = next(asked[other] for other in demo if other != name)
            assert others["answer_contains"] not in answer.text
        else:
            assert expected["answer_contains"] in answer.text
            assert expected["document"].removesuffix(".md") in cited


def test_an_answer_streams_from_the_first_token(demo: dict[str, Client]) -> None:
    pieces = list(demo["acme"].stream("How long is the refund period?", cache=2))
    kinds = [one.WhichOneof("event") for one in pieces]
    assert kinds[0] == "started" and kinds[-1] == "completed"
    assert set(kinds[1:-1]) == {"text_delta"}
    assert "45 days" in "".join(one.text_delta for one in pieces)
    summary = pieces[-1].completed
    assert (summary.request_id, summary.trace_id) == (pieces[0].started.request_id, pieces[0].started.trace_id)
    assert summary.usage.first_token_latency.ToNanoseconds() > 0


def test_an_answer_is_passed_on_while_the_provider_still_writes_it(mesh: RunningMesh, fake: ProviderServer) -> None:
    client = client_of(mesh, "slow", {})
    register(client, fake, "slow")
    fake.script(Reply("one two three four five six", token_s=0.25))
    times = [time.monotonic() for piece in client.stream("Count.", model="slow") if piece.text_delta]
    assert len(times) > 3 and times[-1] - times[0] > 0.6


def test_a_streamed_answer_serves_one_that_is_not_and_the_other_way_round(demo: dict[str, Client]) -> None:
    locale = f"x-{secrets.token_hex(4)}"
    whole = demo["acme"].ask("Who approves discounts?", locale=locale)
    pieces = list(demo["acme"].stream("Who approves discounts?", locale=locale))
    assert pieces[-1].completed.usage.cache_hit
    assert "".join(one.text_delta for one in pieces) == whole.text


async def test_the_second_identical_question_is_a_cache_hit_until_a_document_changes(mesh: RunningMesh) -> None:
    client = client_of(mesh, "cached", {"hours": "# Hours\n\nThe shop opens at nine o'clock in the morning."})
    question = "When does the shop open?"
    assert not client.ask(question).summary.usage.cache_hit
    await until(lambda: client.ask(question).summary.usage.cache_hit, within_s=10)
    again = client.ask(question)
    assert "nine o'clock" in again.text and again.summary.citations[0].document == "hours"
    usage = again.summary.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros) == (0, 0, 0)
    mesh.upload(client.keys.key, {"hours": "# Hours\n\nThe shop opens at ten o'clock in the morning."})
    changed = client.ask(question)
    assert not changed.summary.usage.cache_hit and "ten o'clock" in changed.text


def test_an_unchanged_document_sent_again_leaves_the_cache_as_it_is(mesh: RunningMesh) -> None:
    documents = {"hours": "# Hours\n\nThe shop opens at nine o'clock in the morning."}
    client = client_of(mesh, "unchanged", documents)
    request = document_pb.UpsertDocumentsRequest(document="hours", text=documents["hours"].encode())
    answers = list(stub_of(DocumentServiceStub, client.channel).UpsertDocuments(iter([request])))
    assert [one.outcome for one in answers] == [document_pb.UPSERT_OUTCOME_UNCHANGED]


def test_an_equal_question_of_another_tenant_is_no_hit(mesh: RunningMesh) -> None:
    text = {"hours": "# Hours\n\nThe shop opens at nine o'clock in the morning."}
    first, second = client_of(mesh, "first", text), client_of(mesh, "second", text)
    first.ask("When does the shop open?")
    assert not second.ask("When does the shop open?").summary.usage.cache_hit


async def test_the_ledger_has_one_entry_a_request_and_sums_it(mesh: RunningMesh) -> None:
    client = client_of(mesh, "ledger", {"hours": "# Hours\n\nThe shop opens at nine o'clock in the morning."})
    stub = stub_of(UsageServiceStub, client.channel)
    first = client.ask("When does the shop open?", end_user="ann")
    settled = [first.summary]
    for user in ("ann", "ben"):
        settled.append(client.ask("When does the shop open?", end_user=user).summary)
    pieces = list(client.stream("What is the shop?", end_user="ben"))
    settled.append(pieces[-1].completed)

    def records() -> list[Any]:
        return list(stub.ListUsageRecords(usage_pb.ListUsageRecordsRequest()).records)

    await until(lambda: len(records()) >= len(settled), within_s=20, what="four entries in the ledger")
    by_request = {one.usage.request_id: one for one in records()}
    assert len(records()) == len(settled) and set(by_request) == {one.request_id for one in settled}
    for summary in settled:
        entry = by_request[summary.request_id]
        assert entry.usage.model == summary.usage.model and entry.usage.model_revision == summary.usage.model_revision
        assert entry.usage.input_tokens == summary.usage.input_tokens
        assert entry.usage.output_tokens == summary.usage.output_tokens
        assert entry.usage.cache_hit == summary.usage.cache_hit
        assert entry.usage.outcome == usage_pb2.OUTCOME_OK and not entry.estimated
        assert entry.usage.latency.ToNanoseconds() > 0
    assert by_request[settled[0].request_id].end_user == "ann"
    assert by_request[settled[-1].request_id].end_user == "ben"

    used = stub.GetUsage(usage_pb.GetUsageRequest(grouping=usage_pb.USAGE_GROUPING_END_USER))
    assert (used.total.requests, used.total.failures, used.total.estimated) == (4, 0, 0)
    assert used.total.input_tokens == sum(one.usage.input_tokens for one in settled)
    assert used.total.output_tokens == sum(one.usage.output_tokens for one in settled)
    assert used.total.cache_hits == sum(one.usage.cache_hit for one in settled)
    assert {group.group: group.requests for group in used.groups} == {"ann": 2, "ben": 2}


async def test_a_trace_is_listed_and_shows_the_services(mesh: RunningMesh) -> None:
    client = client_of(mesh, "traced", {"hours": "# Hours\n\nThe shop opens at nine o'clock in the morning."})
    summary = client.ask("When does the shop open?").summary
    stub = stub_of(TraceServiceStub, client.channel)

    # Envoy asks tenancy before there is a trace.
    expected = SERVICES - {"tenancy"} if mesh.envoy else SERVICES

    def whole() -> bool:
        """Each process sends its spans when it likes, and the root ends last."""
        try:
            spans = stub.GetTrace(trace_pb.GetTraceRequest(trace_id=summary.trace_id)).spans
        except grpc.RpcError:
            return False
        services = {span.service.removeprefix("tenantry-") for span in spans}
        parents = {span.parent_span_id for span in spans}
        return services >= expected and "" in parents and parents - {""} <= {span.span_id for span in spans}

    await until(whole, within_s=20, every_s=0.2, what="a span of each service, and the root")
    by_request = stub.GetTrace(trace_pb.GetTraceRequest(trace_id=summary.request_id))
    assert by_request.trace.trace_id == summary.trace_id and not by_request.trace.failed
    known = {span.span_id for span in by_request.spans}
    roots = [span for span in by_request.spans if not span.parent_span_id]
    assert len(roots) == 1 and all(span.parent_span_id in known for span in by_request.spans if span.parent_span_id)
    assert {span.attributes["tenantry.tenant.id"] for span in by_request.spans} == {client.keys.tenant}
    listed = stub.ListTraces(trace_pb.ListTracesRequest()).traces
    assert summary.trace_id in {one.trace_id for one in listed}


def test_a_tenant_without_documents_gets_an_answer_without_citations(mesh: RunningMesh) -> None:
    client = client_of(mesh, "empty", {})
    started = time.monotonic()
    answer = client.ask("How long is the refund period?")
    assert answer.text and not answer.summary.citations
    assert time.monotonic() - started < 10
