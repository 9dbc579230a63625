"""The ledger is what providers reported, to the token, of every call whose end was seen; what it had to guess, it says so."""

from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis

from tenantry.api.common.v1 import usage_pb2
from tenantry.api.insight.v1 import usage_service_pb2 as usage_pb
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.quota import keys
from tests.e2e.conftest import Client, client_of, register
from tests.harness.mesh import RunningMesh, running_mesh, stub_of
from tests.harness.poll import until
from tests.harness.provider import ProviderServer, Reply

# Counts that no estimate would hit on, some of input read from the provider's cache.
ENDED = [
    Reply(
        f"Answer {place}.", input_tokens=1_009 + 37 * place, output_tokens=211 + 13 * place, cached_tokens=101 * place
    )
    for place in range(8)
]
SLOW = Reply("one two three four five six seven eight nine ten", token_s=0.5, input_tokens=90_001, output_tokens=90_001)
BROKEN = Reply("one two three four five", cut_after=3, input_tokens=90_001, output_tokens=90_001)
UNCOUNTED = Reply("Nobody counts this.", counts=False)
QUERY: dict[str, Any] = {"model": "outside", "cache": 2}


def records_of(client: Client) -> list[usage_pb.UsageRecord]:
    usage = stub_of(UsageServiceStub, client.channel)
    return list(usage.ListUsageRecords(usage_pb.ListUsageRecordsRequest(), timeout=10).records)


def cancelled_after_a_word(client: Client) -> None:
    stream = client.stream("Count.", **QUERY)
    next(piece for piece in stream if piece.text_delta)
    stream.cancel()


async def test_every_call_whose_end_was_seen_is_in_the_ledger_as_its_provider_reported_it_and_the_others_are_estimated(
    mesh: RunningMesh, fake: ProviderServer
) -> None:
    client = client_of(mesh, "counted", {})
    register(client, fake, "outside")
    for place, reply in enumerate(ENDED):
        fake.script(reply)
        if place % 2:
            list(client.stream(f"Question {place}?", **QUERY))
        else:
            client.ask(f"Question {place}?", **QUERY)
    for place in range(3):
        fake.script(SLOW)
        cancelled_after_a_word(client)
        fake.script(BROKEN)
        with pytest.raises(grpc.RpcError):
            list(client.stream(f"Broken {place}?", **QUERY))
    fake.script(UNCOUNTED)
    client.ask("Uncounted?", **QUERY)

    everything = len(ENDED) + 3 + 3 + 1
    await until(lambda: len(records_of(client)) >= everything, within_s=30, every_s=0.2, what="all entries")
    records = records_of(client)
    assert len(records) == len({record.reservation for record in records}) == everything
    seen = [record.usage for record in records if not record.usage.counts_estimated]
    assert all(usage.outcome == usage_pb2.OUTCOME_OK for usage in seen)
    assert Counter((usage.input_tokens, usage.output_tokens, usage.cached_input_tokens) for usage in seen) == Counter(
        (reply.input_tokens, reply.output_tokens, reply.cached_tokens) for reply in ENDED
    )
    guessed = [record.usage for record in records if record.usage.counts_estimated]
    outcomes = {usage_pb2.OUTCOME_CANCELLED: 3, usage_pb2.OUTCOME_FAILED: 3, usage_pb2.OUTCOME_OK: 1}
    assert Counter(usage.outcome for usage in guessed) == outcomes
    assert all(0 < usage.input_tokens < 1_000 and 0 < usage.output_tokens < 1_000 for usage in guessed)
    total = stub_of(UsageServiceStub, client.channel).GetUsage(usage_pb.GetUsageRequest(), timeout=10).total
    assert (total.requests, total.estimated) == (everything, len(guessed))


def end_all_holds(url: str) -> None:
    """A minute passes for holds that nobody renews: their ends are moved, since the books' clock can't be."""
    books: Any
    with redis.Redis.from_url(url) as books:
        for bucket in range(keys.BUCKETS):
            ends = keys.ends_key(bucket)
            held = [member for member in books.zrange(ends, 0, -1) if member.startswith(b"h")]
            if held:
                books.zadd(ends, dict.fromkeys(held, 1))


@pytest.mark.timeout(180)
async def test_a_gateway_that_is_killed_in_mid_stream_leaves_an_estimated_entry_and_no_hold(
    tmp_path: Path, fake: ProviderServer
) -> None:
    with running_mesh("processes", tmp_path / "state") as mesh:
        client = client_of(mesh, "bereft", {})
        register(client, fake, "outside")
        fake.script(Reply("word " * 1_000, token_s=0.05))
        stream = client.stream("Go on.", **QUERY)
        request_id = next(stream).started.request_id
        # From its first renewal on, a second after it began, a hold whose gateway dies is estimated.
        words = 0
        with pytest.raises(grpc.RpcError):
            for piece in stream:
                words += bool(piece.text_delta)
                if words == 40:
                    mesh.kill("gateway")
        mesh.start("gateway")
        mesh.wait_ready()
        limits = stub_of(LimitServiceStub, client.channel)

        def nothing_is_held() -> bool:
            return limits.GetQuotaUsage(limit_pb.GetQuotaUsageRequest(), timeout=10).requests_running == 0

        assert mesh.books is not None
        end_all_holds(mesh.books.url)
        await until(lambda: bool(records_of(client)) and nothing_is_held(), within_s=30, every_s=0.2)
        (record,) = records_of(client)
        assert (record.estimated, record.usage.request_id) == (True, request_id)
        assert record.usage.input_tokens > 0 and record.usage.output_tokens > 0
        assert fake.disconnects == 1
