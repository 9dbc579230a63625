"""Each attempt at a provider takes its turn in the fair queue."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tenantry.api.models.v1 import generation_service_pb2 as pb
from tenantry.api.models.v1 import model_service_pb2 as registry_pb
from tenantry.api.models.v1.generation_service_pb2_grpc import GenerationServiceStub
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.quota.v1 import queue_service_pb2 as queue_pb
from tenantry.api.quota.v1.reservation_service_pb2 import Receipt
from tenantry.kit.errors import Aborted, Reason, ResourceExhausted, TenantryError, Unavailable
from tenantry.models import slots_mesh
from tests.functional.models.test_providers import KINDS, asking, server, streamed, whole
from tests.harness.directed_queue import QueueDirector
from tests.harness.poll import until
from tests.harness.provider import ProviderServer, Reply
from tests.harness.room import Served, caller_of

__all__ = ["server"]
ACME = caller_of(scopes={"models.write"})


async def test_a_call_asks_for_a_place_in_its_models_pool_with_its_receipt_and_gives_it_back(
    models: Served, server: ProviderServer, queue: QueueDirector
) -> None:
    given = asking("openai")
    given.receipt.CopyFrom(Receipt(reservation="res_1", tenant="acme", mac=b"m"))
    given.priority = 7
    await whole(models, given)
    [begin] = queue.begun
    assert (begin.pool, begin.max_output_tokens, begin.priority) == ("openai:openai-1", 500, 7)
    assert begin.receipt == given.receipt
    assert begin.input_tokens > 0 and begin.begin_within.ToSeconds() > 0
    await until(lambda: len(queue.ends) == 1 and queue.running == 0)
    assert queue.ends[0] == queue_pb.SlotEnd(outcome=queue_pb.SLOT_OUTCOME_OK, output_tokens=7)


async def test_the_provider_is_asked_only_when_it_is_the_calls_turn(
    models: Served, server: ProviderServer, queue: QueueDirector
) -> None:
    queue.held = True
    asked = asyncio.ensure_future(whole(models, asking("openai")))
    await until(lambda: len(queue.begun) == 1)
    assert server.requests == []
    queue.go.set()
    await asked
    assert len(server.requests) == 1


async def test_a_call_that_waits_for_long_is_told_where_it_stands_before_its_first_text(
    models: Served, server: ProviderServer, queue: QueueDirector
) -> None:
    queue.held = True
    queue.standings = [queue_pb.SlotWaiting(place=4), queue_pb.SlotWaiting(place=3, expected_wait=Duration(seconds=2))]
    stub = GenerationServiceStub(models.channel(service="gateway"))
    with models.calling(caller_of()):
        request = pb.StreamGenerateContentRequest(input=asking("openai"))
        pieces = [piece async for piece in _released(queue, stub.StreamGenerateContent(request, timeout=20))]
    waiting = [piece.waiting for piece in pieces if piece.HasField("waiting")]
    told = [pb.Waiting(place=3, expected_wait=Duration(seconds=2)), pb.Waiting()]
    assert waiting == told, "the first place was passed at once; at the end its turn has come"
    assert pieces[0].HasField("waiting") and pieces[-1].HasField("result")


async def _released(queue: QueueDirector, stream: Any) -> AsyncIterator[pb.StreamGenerateContentResponse]:
    """The stream; when it says that the call waits, that is over."""
    async for piece in stream:
        yield piece
        if piece.HasField("waiting"):
            queue.go.set()


async def test_a_call_that_waits_for_a_moment_or_wants_no_stream_is_told_nothing_of_it(
    models: Served, server: ProviderServer, queue: QueueDirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.held = True
    asked = asyncio.ensure_future(whole(models, asking("openai")))
    await until(lambda: len(queue.begun) == 1)
    queue.go.set()
    await asked
    monkeypatch.setattr(slots_mesh, "SAY_AFTER_S", 60.0)
    queue.go.clear()
    texts: list[str] = []
    streaming = asyncio.ensure_future(streamed(models, asking("openai"), texts))
    await until(lambda: len(queue.begun) == 2)
    queue.go.set()
    await streaming
    assert all(texts), "every message before the result has text"


async def test_what_the_queue_refuses_is_told_and_says_nothing_of_the_provider(
    models: Served, server: ProviderServer, queue: QueueDirector
) -> None:
    queue.failure = ResourceExhausted(Reason.QUEUE_LATE, "late", retry_after_s=7.0, pool="openai:openai-1")
    for _ in range(6):
        with pytest.raises(ResourceExhausted) as refused:
            await whole(models, asking("openai"))
        assert (refused.value.reason, refused.value.retry_after_s) == (Reason.QUEUE_LATE, 7.0)
    queue.failure = Unavailable(Reason.STORE_UNAVAILABLE, "away", store="books")
    for _ in range(6):
        with pytest.raises(Unavailable):
            await whole(models, asking("openai"))
    assert server.requests == []
    queue.failure = None
    await whole(models, asking("openai"))


async def test_a_place_is_given_back_before_the_fallback_takes_its_own(
    models: Served, server: ProviderServer, queue: QueueDirector
) -> None:
    server.script(Reply(status=429, retry_after="3"))
    await whole(models, asking("openai", "anthropic"))
    assert [begin.pool for begin in queue.begun] == ["openai:openai-1", "anthropic:anthropic-1"]
    await until(lambda: len(queue.ends) == 2)
    throttled = next(end for end in queue.ends if end.outcome == queue_pb.SLOT_OUTCOME_THROTTLED)
    assert throttled.retry_after.ToSeconds() == 3


async def test_a_tenants_own_model_has_a_pool_of_its_own(
    models: Served, server: ProviderServer, queue: QueueDirector
) -> None:
    stub = ModelServiceStub(models.channel())
    with models.calling(ACME):
        model = registry_pb.Model(
            model="own",
            provider=KINDS["openai"],
            provider_model="own-1",
            base_url=server.openai_url,
            tenant="acme",
            max_output_tokens=50,
        )
        await stub.RegisterModel(registry_pb.RegisterModelRequest(model=model))
        await stub.SetProviderCredential(
            registry_pb.SetProviderCredentialRequest(
                tenant="acme", provider=KINDS["openai"], base_url=server.openai_url, credential="sk-own"
            )
        )
    await whole(models, asking("own"))
    await whole(models, asking("openai"))  # with the tenant's own credential for the same address
    assert [begin.pool for begin in queue.begun] == ["acme/openai:own-1", "acme/openai:openai-1"]


async def test_the_built_in_provider_takes_no_place(models: Served, queue: QueueDirector) -> None:
    await whole(models, asking("extractive"))
    assert queue.begun == []


async def test_output_is_told_while_it_is_written_in_few_messages(
    models: Served, server: ProviderServer, queue: QueueDirector
) -> None:
    server.reply = Reply("word " * 100, token_s=0.01)
    await streamed(models, asking("openai"), [])
    await until(lambda: len(queue.ends) == 1)
    assert 1 <= len(queue.progress) <= 10
    assert queue.progress == sorted(queue.progress)


async def test_a_stream_that_breaks_is_opened_again_with_the_lease_and_the_call_goes_on(
    models: Served, server: ProviderServer, queue: QueueDirector
) -> None:
    queue.broken = Unavailable(Reason.SERVICE_UNAVAILABLE, "the replica went", service="quota")
    server.reply = Reply(token_s=0.2)
    asked = asyncio.ensure_future(streamed(models, asking("openai"), []))
    await until(lambda: len(queue.begun) >= 2)
    queue.broken = None
    await asked
    assert queue.begun[1].lease.ticket == "slot_1"
    await until(lambda: len(queue.ends) == 1)


@pytest.mark.parametrize("how", ["given to another", "away for too long"])
async def test_a_call_whose_place_is_lost_is_cut(
    models: Served, server: ProviderServer, queue: QueueDirector, how: str
) -> None:
    queue.life_s = 0.5
    queue.broken = Unavailable(Reason.SERVICE_UNAVAILABLE, "the replica went", service="quota")
    server.reply = Reply(hang_after=1)
    asked = asyncio.ensure_future(streamed(models, asking("openai"), []))
    await until(lambda: len(queue.begun) >= 1)
    if how == "given to another":
        queue.failure = Aborted(Reason.HANDLE_LOST, "gone")
    else:
        queue.failure = queue.broken
    with pytest.raises(TenantryError) as refused:
        await asyncio.wait_for(asked, 5.0)
    assert refused.value.reason == Reason.SERVICE_UNAVAILABLE


async def test_a_caller_that_goes_gives_its_place_back_whether_it_waits_or_runs(
    models: Served, server: ProviderServer, queue: QueueDirector
) -> None:
    server.reply = Reply(hang_after=1)
    asked = asyncio.ensure_future(streamed(models, asking("openai"), []))
    await until(lambda: queue.running == 1)
    asked.cancel()
    await until(lambda: queue.running == 0)
    queue.held = True
    asked = asyncio.ensure_future(whole(models, asking("openai")))
    await until(lambda: len(queue.begun) == 2)
    asked.cancel()
    queue.go.set()
    await until(lambda: queue.running == 0)
