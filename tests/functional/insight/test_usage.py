"""UsageService as its callers see it, fed by an outbox as quota's is."""

import time
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.common.v1.usage_pb2 import OUTCOME_CANCELLED, OUTCOME_OK
from tenantry.api.insight.v1 import usage_service_pb2 as pb
from tenantry.kit.errors import InvalidArgument, NotFound, PermissionDenied
from tests.functional.insight.insight_room import (
    MINE,
    OPERATOR,
    THEIRS,
    Insight,
    ScriptedOutbox,
    insight_and_quota,
    settled,
)
from tests.harness.poll import until
from tests.harness.room import caller_of


async def test_what_quota_settled_is_in_the_ledger_once_acknowledged(insight: Insight) -> None:
    latency = Duration(nanos=150_000_000)
    await insight.settled(settled("r1", latency=latency, model_revision="2026-11", prompt="answer", prompt_revision=2))
    with insight.room.calling(MINE):
        [record] = (await insight.usage.ListUsageRecords(pb.ListUsageRecordsRequest(request_id="req_r1"))).records
    assert (record.reservation, record.usage.model_revision, record.usage.outcome) == ("r1", "2026-11", OUTCOME_OK)
    assert (record.usage.latency, record.usage.prompt, record.usage.prompt_revision) == (latency, "answer", 2)
    assert not record.usage.HasField("first_token_latency") and not record.estimated
    assert abs(record.settle_time.ToSeconds() - time.time()) < 60


async def test_sums_have_total_groups_and_percentiles(insight: Insight) -> None:
    await insight.settled(
        *(
            settled(f"r{number}", latency=Duration(nanos=number * 10_000_000), end_user="ann")
            for number in range(1, 21)
        ),
        settled("b", model="big", end_user="bob", cache_hit=True, outcome=OUTCOME_CANCELLED),
        settled("g", "globex"),
    )
    with insight.room.calling(MINE):
        answer = await insight.usage.GetUsage(pb.GetUsageRequest(grouping=pb.USAGE_GROUPING_MODEL))
    assert (answer.total.requests, answer.total.input_tokens, answer.total.cost_micros) == (21, 210, 147)
    assert [(group.group, group.requests, group.failures, group.cache_hits) for group in answer.groups] == [
        ("gpt", 20, 0, 0),
        ("big", 1, 1, 1),
    ]
    assert answer.groups[0].latency_p50_ms == pytest.approx(100, rel=0.01)
    assert answer.groups[0].latency_p95_ms == pytest.approx(190, rel=0.01)
    assert (await insight.total(THEIRS)).requests == 1


async def test_the_busiest_end_users_are_named_and_the_rest_is_one_sum(insight: Insight) -> None:
    users = ["ann"] * 3 + ["bob"] * 2 + ["eve", "joe"]
    await insight.settled(*(settled(f"r{number}", end_user=user) for number, user in enumerate(users)))
    request = pb.GetUsageRequest(grouping=pb.USAGE_GROUPING_END_USER, most_groups=2)
    with insight.room.calling(MINE):
        answer = await insight.usage.GetUsage(request)
        assert [(group.group, group.requests) for group in answer.groups] == [("ann", 3), ("bob", 2)]
        assert (answer.others.requests, answer.others.cost_micros, answer.others.group) == (2, 14, "")
        request.most_groups = 4
        assert not (await insight.usage.GetUsage(request)).HasField("others")
        for wrong in (-1, 1_001):
            with pytest.raises(InvalidArgument) as refused:
                await insight.usage.GetUsage(pb.GetUsageRequest(most_groups=wrong))
            assert refused.value.violations[0][0] == "most_groups"


async def test_cached_input_and_that_counts_were_estimated_are_in_the_records_and_in_the_chain(
    insight: Insight,
) -> None:
    await insight.settled(settled("r1", cached_input_tokens=8), settled("r2", counts_estimated=True), settled("r3"))
    with insight.room.calling(MINE):
        links = (await insight.usage.ListUsageChain(pb.ListUsageChainRequest())).links
        assert (await insight.usage.GetUsage(pb.GetUsageRequest())).total.estimated == 1
    usages = [link.record.usage for link in links]
    assert [(usage.cached_input_tokens, usage.counts_estimated) for usage in usages] == [
        (8, False),
        (0, True),
        (0, False),
    ]


async def test_a_stream_that_breaks_before_its_acknowledgement_doubles_nothing(tmp_path: Path) -> None:
    outbox = ScriptedOutbox([settled(f"r{number}") for number in range(9)], cut_after=2)
    async with insight_and_quota(tmp_path, "inprocess", outbox) as insight:
        await until(lambda: outbox.streams >= 3, what="a third stream")
        outbox.cut_after = 0
        await insight.settled(settled("r9"))
        assert (await insight.total()).requests == 10
        assert not any(message.cursors for message in outbox.first_messages)


async def test_quota_may_be_away_and_come_back(tmp_path: Path) -> None:
    outbox = ScriptedOutbox([settled("r1")], away=True)
    async with insight_and_quota(tmp_path, "inprocess", outbox) as insight:
        await until(lambda: outbox.streams >= 2, what="a second try")
        assert (await insight.total()).requests == 0
        outbox.away = False
        await insight.settled(settled("r2"))
        outbox.away = True
        tries = outbox.streams
        await until(lambda: outbox.streams > tries, what="another try")
        outbox.away = False
        await insight.settled(settled("r3"))
        assert (await insight.total()).requests == 3


async def test_records_come_in_pages_newest_first(insight: Insight) -> None:
    await insight.settled(*(settled(f"r{number}") for number in range(7)))
    request = pb.ListUsageRecordsRequest(page=paging_pb2.PageRequest(size=3))
    seen: list[str] = []
    with insight.room.calling(MINE):
        while True:
            answer = await insight.usage.ListUsageRecords(request)
            assert len(answer.records) <= 3
            seen += [record.reservation for record in answer.records]
            if not answer.page.next_token:
                break
            request.page.token = answer.page.next_token
    assert seen == [f"r{number}" for number in range(6, -1, -1)]


async def test_administrators_may_name_a_tenant_as_far_as_they_reach(insight: Insight) -> None:
    await insight.settled(settled("r1"))
    assert (await insight.total(OPERATOR, tenant="acme")).requests == 1
    assert (await insight.total(caller_of("", "acme-org", scopes={"usage.read"}), tenant="acme")).requests == 1
    with pytest.raises(NotFound):
        await insight.total(caller_of("", "globex-org", scopes={"usage.read"}), tenant="acme")
    with pytest.raises(PermissionDenied):
        await insight.total(OPERATOR)
    with pytest.raises(PermissionDenied):
        await insight.total(caller_of(scopes={"traces.read"}))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"start_time": Timestamp(seconds=10), "end_time": Timestamp(seconds=10)}, "start_time"),
    ({"start_time": Timestamp(seconds=10)}, "start_time"),
    ({"start_time": Timestamp(seconds=2**62)}, "start_time"),
    ({"end_time": Timestamp(seconds=10, nanos=-1)}, "end_time"),
    ({"grouping": 99}, "grouping"),
    ({"tenant": "Acme"}, "tenant"),
]


async def test_a_wrong_field_is_named(insight: Insight) -> None:
    for asked, field in WRONG:
        with pytest.raises(InvalidArgument) as refused:
            await insight.total(OPERATOR if "tenant" in asked else MINE, **asked)
        assert refused.value.violations[0][0] == field
