"""TraceService and OTLP's Export as their callers see them, and the lifecycle contract."""

from pathlib import Path

import pytest

from tenantry.api.insight.v1 import trace_service_pb2 as pb
from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import DeprovisionTenantRequest
from tenantry.insight.spans import Bounds
from tenantry.kit.errors import InvalidArgument, NotFound, PermissionDenied
from tests.functional.insight.insight_room import (
    MINE,
    OPERATOR,
    THEIRS,
    Insight,
    insight_and_quota,
    settled,
    span,
)
from tests.harness.poll import until


async def test_spans_of_several_services_out_of_order_make_one_trace(insight: Insight) -> None:
    await insight.export(span(3, rpc__method="SearchPassages"), service="retrieval")
    await insight.export(span(2), service="models")
    await insight.export(span(1, failed=True))
    answer = await insight.shown(f"{1:032x}", spans=3)
    assert (answer.trace.name, answer.trace.request_id, answer.trace.failed) == ("work 1", "req_1", True)
    assert answer.trace.duration_ms == 5.0
    assert [(one.service, one.name) for one in answer.spans] == [
        ("gateway", "work 1"),
        ("models", "work 2"),
        ("retrieval", "work 3"),
    ]
    assert answer.spans[2].parent_span_id == answer.spans[0].span_id
    assert answer.spans[2].attributes["rpc.method"] == "SearchPassages"
    assert (await insight.shown("req_1")).trace.trace_id == f"{1:032x}"


async def test_traces_are_listed_newest_first_in_pages(insight: Insight) -> None:
    await insight.export(*(span(1, number) for number in range(1, 6)), span(1, 9, "globex"))
    await insight.shown("req_5")
    assert await insight.listed(size=2) == ["req_5", "req_4", "req_3", "req_2", "req_1"]


async def test_an_id_of_another_form_is_refused(insight: Insight) -> None:
    for id in ("", "a" * 65, "a b", "req\x00", "%"):
        with insight.room.calling(MINE), pytest.raises(InvalidArgument) as refused:
            await insight.traces.GetTrace(pb.GetTraceRequest(trace_id=id))
        assert refused.value.violations[0][0] == "trace_id"


async def test_an_operator_has_no_traces_of_its_own(insight: Insight) -> None:
    with insight.room.calling(OPERATOR), pytest.raises(PermissionDenied):
        await insight.traces.ListTraces(pb.ListTracesRequest())


async def test_a_sender_is_told_what_was_not_taken(tmp_path: Path) -> None:
    async with insight_and_quota(tmp_path, "network", bounds=Bounds(queued=10)) as insight:
        answer = await insight.export(*(span(number) for number in range(1, 12)))
        assert answer.partial_success.rejected_spans == 11
        answer = await insight.export(span(1))
        assert not answer.HasField("partial_success")
        await insight.shown("req_1")


async def test_what_is_queued_at_the_end_is_there_after_a_restart(tmp_path: Path) -> None:
    async with insight_and_quota(tmp_path, "inprocess") as insight:
        await insight.export(span(1), span(2))
        await insight.settled(settled("r1"))
    async with insight_and_quota(tmp_path, "inprocess") as insight:
        assert (await insight.shown("req_1")).trace.spans == 2
        assert (await insight.total()).requests == 1


async def test_what_is_too_old_is_swept(tmp_path: Path) -> None:
    async with insight_and_quota(tmp_path, "inprocess") as insight:
        await insight.export(span(1))
        await insight.shown("req_1")
    async with insight_and_quota(tmp_path, "inprocess", bounds=Bounds(age_s=0.0)) as insight:

        async def empty() -> bool:
            return not await insight.listed()

        await until(empty, what="the sweep")


async def test_a_deleted_tenant_has_no_traces_and_its_ledger_stays(insight: Insight) -> None:
    await insight.settled(settled("r1"))
    await insight.export(span(1), span(1, 2, "globex"))
    await insight.shown("req_1")
    request = DeprovisionTenantRequest(tenant="acme", organisation="acme-org")
    did = (await insight.lifecycle.DeprovisionTenant(request)).did
    assert did == "deleted 1 traces; the entries of the usage ledger stay"
    assert (await insight.lifecycle.DeprovisionTenant(request)).did == "nothing to do"
    await insight.export(span(2), span(2, 2, "globex"))
    await insight.shown("req_2", THEIRS, spans=2)
    with insight.room.calling(MINE), pytest.raises(NotFound):
        await insight.traces.GetTrace(pb.GetTraceRequest(trace_id="req_1"))
    assert (await insight.total(OPERATOR, tenant="acme")).requests == 1
