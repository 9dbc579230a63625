"""Attacks on insight: another tenant's traces and usage by every way the contracts allow, forged and hostile spans."""

from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub as ExportStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.insight.v1 import trace_service_pb2, usage_service_pb2
from tenantry.kit import paging
from tenantry.kit.errors import InvalidArgument, NotFound, TenantryError, Unauthenticated
from tests.functional.insight.conftest import insight as insight
from tests.functional.insight.insight_room import MINE, THEIRS, Insight, report, settled, span
from tests.harness.room import caller_of

MARK = "globex-7f3a-secret"
TRACE_OF_GLOBEX = 7


async def hide(insight: Insight) -> None:
    """Globex has a trace and usage that bear its mark; acme has a trace too."""
    await insight.export(span(1, TRACE_OF_GLOBEX, "globex", rpc__method=MARK), span(1, 1))
    await insight.settled(settled("secret", "globex", model=MARK, end_user=MARK), settled("mine"))
    await insight.shown(f"{TRACE_OF_GLOBEX:032x}", THEIRS)
    await insight.shown("req_1")


async def test_another_tenants_trace_by_its_id_or_its_requests_is_as_one_that_never_was(insight: Insight) -> None:
    await hide(insight)
    refusals: list[TenantryError] = []
    with insight.room.calling(MINE):
        for asked in (f"{TRACE_OF_GLOBEX:032x}", f"req_{TRACE_OF_GLOBEX}", "f" * 32, "req_99"):
            with pytest.raises(NotFound) as refused:
                await insight.traces.GetTrace(trace_service_pb2.GetTraceRequest(trace_id=asked))
            refusals.append(refused.value)
    assert len({(one.reason, one.message, str(one.metadata)) for one in refusals}) == 1


async def test_a_forged_or_anothers_page_token_brings_only_ones_own(insight: Insight) -> None:
    await hide(insight)
    for position in ((2**62, "f" * 32), (0, "0"), (1_700_000_000_007_000_001, f"{TRACE_OF_GLOBEX:032x}z")):
        page = paging_pb2.PageRequest(token=paging.token_of(*position))
        with insight.room.calling(MINE):
            listed = await insight.traces.ListTraces(trace_service_pb2.ListTracesRequest(page=page))
            records = await insight.usage.ListUsageRecords(usage_service_pb2.ListUsageRecordsRequest(page=page))
        # The room's own spans come sometimes too.
        assert {trace.request_id for trace in listed.traces if trace.name.startswith("work")} <= {"req_1"}
        assert {record.reservation for record in records.records} <= {"mine"}


TOKENS = [
    paging.token_of(2**70, "a"),
    paging.token_of(1, "a\0"),
    paging.token_of(1, "\ud800"),
    paging.token_of("1", "a"),
    paging.token_of(1, "' OR tenant = 'globex"),
    "%%%",
    "A" * 3000,
]


async def test_a_token_that_no_list_gave_is_refused(insight: Insight) -> None:
    for token in TOKENS:
        page = paging_pb2.PageRequest(token=token)
        with insight.room.calling(MINE):
            with pytest.raises(InvalidArgument):
                await insight.traces.ListTraces(trace_service_pb2.ListTracesRequest(page=page))
            with pytest.raises(InvalidArgument):
                await insight.usage.ListUsageRecords(usage_service_pb2.ListUsageRecordsRequest(page=page))


async def test_usage_of_another_tenant_is_not_found_and_never_in_ones_own(insight: Insight) -> None:
    await hide(insight)
    groupings = range(5)
    with insight.room.calling(MINE):
        for tenant in ("globex", "nobody"):
            with pytest.raises(NotFound):
                await insight.usage.GetUsage(usage_service_pb2.GetUsageRequest(tenant=tenant))
            with pytest.raises(NotFound):
                await insight.usage.ListUsageRecords(usage_service_pb2.ListUsageRecordsRequest(tenant=tenant))
        request = usage_service_pb2.ListUsageRecordsRequest(request_id="req_secret")
        assert not (await insight.usage.ListUsageRecords(request)).records
        for grouping in groupings:
            request_ = usage_service_pb2.GetUsageRequest(grouping=usage_service_pb2.UsageGrouping.ValueType(grouping))
            answer = await insight.usage.GetUsage(request_)
            assert answer.total.requests == 1 and MARK not in str(answer)


async def test_a_tenants_id_under_another_organisation_does_not_open_its_ledger(insight: Insight) -> None:
    await hide(insight)
    impostor = caller_of("globex", "acme-org", scopes={"usage.read"})
    assert (await insight.total(impostor)).requests == 0


async def test_a_tenants_key_cannot_export_spans(insight: Insight) -> None:
    with (
        insight.room.calling(caller_of(scopes={"generate", "traces.read", "usage.read"})),
        pytest.raises(Unauthenticated),
    ):
        await ExportStub(insight.room.channel("insight")).Export(report([span(1, 66, "globex")], "gateway"))
    await insight.export(span(1, 1))
    await insight.shown("req_1")
    with insight.room.calling(THEIRS), pytest.raises(NotFound):
        await insight.traces.GetTrace(trace_service_pb2.GetTraceRequest(trace_id="req_66"))


async def test_a_span_with_anothers_trace_id_and_request_id_opens_nothing_and_changes_nothing(insight: Insight) -> None:
    await hide(insight)
    await insight.export(span(2, TRACE_OF_GLOBEX, "acme"), span(1, TRACE_OF_GLOBEX, "acme", rpc__method="forged"))
    mine = await insight.shown(f"{TRACE_OF_GLOBEX:032x}", MINE, spans=2)
    theirs = await insight.shown(f"{TRACE_OF_GLOBEX:032x}", THEIRS)
    assert MARK not in str(mine)
    assert (theirs.trace.spans, theirs.spans[0].attributes["rpc.method"]) == (1, MARK)


async def test_junk_spans_are_not_shown_and_the_good_ones_beside_them_are(insight: Insight) -> None:
    deep = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(string_value=MARK))]))
    many = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="x" * 1000)] * 1000))
    good = span(1, 1)
    good.attributes.extend([KeyValue(key="rpc.deep", value=deep), KeyValue(key="rpc.many", value=many)])
    good.attributes.append(KeyValue(key="gen_ai.input.messages", value=AnyValue(string_value=MARK)))
    good.events.add(name=MARK)
    good.status.message = MARK
    junk = span(2, 1)
    junk.start_time_unix_nano = 2**64 - 1
    both = span(3, 1)
    both.attributes.append(KeyValue(key="tenantry.tenant.id", value=AnyValue(string_value="globex")))
    await insight.export(Span(), span(4, 1, ""), span(5, 1, "no such tenant"), junk, both, good)
    shown = await insight.shown(f"{1:032x}")
    assert [one.name for one in shown.spans] == ["work 1"]
    assert MARK not in str(shown) and len(shown.spans[0].attributes["rpc.many"]) <= 256


async def test_an_export_of_too_many_spans_is_refused_whole(insight: Insight) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await insight.export(*([span(1)] * 4097))
    assert refused.value.violations[0][0] == "resource_spans"


async def test_nothing_of_a_span_or_entry_is_in_the_log(
    insight: Insight, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "tenantry"):
        await hide(insight)
    assert MARK not in caplog.text
