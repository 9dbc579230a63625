"""GatewayService as its callers see it, and what the other services see of it."""

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration

from tenantry.api.cache.v1 import cache_service_pb2 as cache_pb
from tenantry.api.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from tenantry.api.common.v1 import usage_pb2
from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.models.v1 import generation_service_pb2 as generation_pb
from tenantry.api.prompts.v1 import prompt_service_pb2 as prompt_pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.kit.caller import Caller
from tenantry.kit.errors import FailedPrecondition, InvalidArgument, NotFound, Reason, ResourceExhausted, Unavailable
from tests.functional.gateway.conftest import House
from tests.harness.poll import until
from tests.harness.room import caller_of

QUESTION = "How long is the refund period?"
DOCUMENT = "# Refunds\n\nThe refund period is 45 days after delivery.\n"


def ask(house: House, **fields: object) -> pb.GenerateContentRequest:
    return pb.GenerateContentRequest(query=pb.GenerationQuery(question=QUESTION, **fields))  # pyright: ignore[reportArgumentType]


async def answer(house: House, who: Caller, **fields: object) -> pb.GenerateContentResponse:
    with house.room.calling(who, "req_test"):
        return await GatewayServiceStub(house.room.channel("gateway")).GenerateContent(ask(house, **fields))


async def running(house: House) -> int:
    with house.room.calling(caller_of("", "", scopes={"limits.read"})):
        stub = LimitServiceStub(house.room.channel("quota"))
        return (await stub.GetQuotaUsage(limit_pb.GetQuotaUsageRequest(tenant=house.acme.tenant))).requests_running


async def test_an_answer_cites_its_passages_and_enters_the_ledger_once(house: House) -> None:
    await house.upload(house.acme, DOCUMENT)
    got = await answer(house, house.acme, end_user="user-7")
    assert got.text == "It is 45 days [1]."
    assert [(one.number, one.document) for one in got.summary.citations] == [(1, "refunds.md")]
    assert "45 days" in got.summary.citations[0].text
    assert got.summary.finish_reason == "stop"
    given = house.director.asked[0]
    assert given.question == QUESTION and given.messages[-1].text == QUESTION
    assert list(given.fallbacks) == ["m-2"]
    assert given.receipt.tenant == house.acme.tenant
    (entry,) = await house.settled(1)
    assert (entry.tenant, entry.end_user, entry.estimated) == (house.acme.tenant, "user-7", False)
    usage = entry.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros) == (100, 10, 120)
    assert (usage.provider, usage.model, usage.model_revision) == ("openai", "m-1", "m-1-2026")
    assert (usage.outcome, usage.cache_hit, usage.request_id) == (usage_pb2.OUTCOME_OK, False, "req_test")
    assert (usage.prompt, usage.prompt_revision) == ("answer", 1)
    assert usage.latency.ToNanoseconds() > 0
    assert usage == got.summary.usage


async def test_the_same_question_again_is_a_hit_until_a_document_changes(house: House) -> None:
    await house.upload(house.acme, DOCUMENT)
    first = await answer(house, house.acme)
    await until(lambda: stored(house), within_s=5)
    again = await answer(house, house.acme)
    assert again.summary.usage.cache_hit and again.text == first.text
    assert again.summary.citations == first.summary.citations
    assert again.summary.usage.input_tokens == again.summary.usage.cost_micros == 0
    await house.upload(house.acme, DOCUMENT.replace("45", "30"))
    changed = await answer(house, house.acme)
    assert not changed.summary.usage.cache_hit
    assert len(house.director.asked) == 2
    entries = await house.settled(3)
    assert sorted(one.usage.cache_hit for one in entries) == [False, False, True]


async def stored(house: House, count: int = 1) -> bool:
    with house.room.calling(caller_of(house.acme.tenant, house.acme.organisation, scopes={"cache.read"})):
        stats = await CacheServiceStub(house.room.channel("cache")).GetCacheStats(cache_pb.GetCacheStatsRequest())
    return stats.stores >= count


async def test_the_identical_question_of_another_tenant_is_a_miss_with_its_own_passages(house: House) -> None:
    await house.upload(house.acme, DOCUMENT)
    await house.upload(house.globex, DOCUMENT.replace("45", "14"))
    await answer(house, house.acme)
    await until(lambda: stored(house), within_s=5)
    other = await answer(house, house.globex)
    assert not other.summary.usage.cache_hit
    assert house.director.tenants == [house.acme.tenant, house.globex.tenant]
    texts = [[one.text for one in given.passages] for given in house.director.asked]
    assert "45 days" in str(texts[0]) and "14 days" not in str(texts[0])
    assert "14 days" in str(texts[1]) and "45 days" not in str(texts[1])


async def test_a_stream_begins_before_the_model_is_done(house: House) -> None:
    house.director.held = True
    stub = GatewayServiceStub(house.room.channel("gateway"))
    request = pb.StreamGenerateContentRequest(query=pb.GenerationQuery(question=QUESTION))
    with house.room.calling(house.acme, "req_test"):
        parts = aiter(stub.StreamGenerateContent(request))
        started = await anext(parts)
        assert started.started.request_id == "req_test"
        assert (await anext(parts)).text_delta == "It is "
        house.director.go.set()
        assert (await anext(parts)).text_delta == "45 days [1]."
        completed = (await anext(parts)).completed
    assert completed.usage.output_tokens == 10
    assert completed.usage.first_token_latency.ToNanoseconds() <= completed.usage.latency.ToNanoseconds()


async def begin(house: House, who: Caller) -> "asyncio.Task[pb.GenerateContentResponse]":
    before = house.director.begun
    task = asyncio.create_task(answer(house, who))
    await until(lambda: house.director.begun > before, within_s=5)
    return task


async def test_a_request_that_waits_for_its_turn_is_told_where_it_stands(house: House) -> None:
    house.director.waiting = [
        generation_pb.Waiting(place=2, expected_wait=Duration(seconds=3)),
        generation_pb.Waiting(place=1),
    ]
    request = pb.StreamGenerateContentRequest(query=ask(house).query)
    with house.room.calling(house.acme):
        stream = GatewayServiceStub(house.room.channel("gateway")).StreamGenerateContent(request)
        events = [event async for event in stream]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", "waiting", "waiting", "text_delta", "text_delta", "completed"]
    assert events[1].waiting == pb.Waiting(place=2, expected_wait=Duration(seconds=3))
    assert events[2].waiting == pb.Waiting(place=1)


async def test_a_client_that_goes_stops_the_model_and_what_was_used_is_settled(house: House) -> None:
    house.director.held = True
    task = await begin(house, house.acme)
    task.cancel()
    await until(lambda: house.director.cancelled == 1, within_s=5)
    (entry,) = await house.settled(1)
    assert entry.usage.outcome == usage_pb2.OUTCOME_CANCELLED
    assert entry.usage.input_tokens > 0 and not entry.estimated
    assert await running(house) == 0


async def test_a_client_that_goes_stops_nothing_that_another_waits_for(house: House) -> None:
    house.director.held = True
    leader = await begin(house, house.acme)
    follower = asyncio.create_task(answer(house, house.acme))
    await until(lambda: waits(house), within_s=5)
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)
    house.director.go.set()
    got = await asyncio.wait_for(follower, 10)
    assert got.text == "It is 45 days [1]." and got.summary.usage.cache_hit
    assert house.director.cancelled == 0 and len(house.director.asked) == 1
    assert len(await house.settled(2)) == 2


async def waits(house: House) -> bool:
    with house.room.calling(caller_of(house.acme.tenant, house.acme.organisation, scopes={"cache.read"})):
        stats = await CacheServiceStub(house.room.channel("cache")).GetCacheStats(cache_pb.GetCacheStatsRequest())
    return stats.waits >= 1


async def test_the_answer_of_a_fallback_is_not_kept_as_the_chosen_model_s(house: House) -> None:
    house.director.model = "m-2"
    assert (await answer(house, house.acme)).summary.usage.model == "m-2"
    house.director.model = "m-1"
    assert (await answer(house, house.acme)).summary.usage.model == "m-1"
    await until(lambda: stored(house), within_s=5)
    assert (await answer(house, house.acme)).summary.usage.cache_hit
    assert len(house.director.asked) == 2


async def test_a_client_that_goes_while_its_hold_is_made_leaves_none(house: House) -> None:
    for turns in range(12):
        task = asyncio.create_task(answer(house, house.acme))
        for _ in range(turns * 4):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def none_runs() -> bool:
        return await running(house) == 0

    await until(none_runs, within_s=10)


async def test_many_who_ask_the_same_cause_one_call_of_the_model(house: House) -> None:
    # The embedder is loaded by the first search; a cache whose answers are late for that is passed over, as it should be.
    await answer(house, house.globex)
    house.director.held = True
    leader = await begin(house, house.acme)
    others = [asyncio.create_task(answer(house, house.acme)) for _ in range(20)]
    await until(lambda: waits(house), within_s=30)
    house.director.go.set()
    texts = {one.text for one in await asyncio.gather(leader, *others)}
    assert texts == {"It is 45 days [1]."}
    assert house.director.tenants == [house.globex.tenant, house.acme.tenant]
    assert len(await house.settled(22)) == 22


async def test_a_failed_model_is_an_error_and_what_was_used_is_settled(house: House) -> None:
    house.director.failure = Unavailable(
        Reason.PROVIDER_UNAVAILABLE, "the provider cut its answer", kind="cut", input_tokens="90", output_tokens="3"
    )
    with pytest.raises(Unavailable) as refused:
        await answer(house, house.acme)
    assert refused.value.reason == Reason.PROVIDER_UNAVAILABLE
    (entry,) = await house.settled(1)
    usage = entry.usage
    assert (usage.outcome, usage.input_tokens, usage.output_tokens) == (usage_pb2.OUTCOME_FAILED, 90, 3)
    assert usage.cost_micros == 96
    house.director.failure = None
    assert (await answer(house, house.acme)).text


async def test_an_answer_that_breaks_its_schema_is_repaired_once(house: House) -> None:
    await make_schema_prompt(house)
    house.director.texts = [["45 days"], ['{"days": 45}']]
    got = await answer(house, house.acme, prompt="bound")
    assert got.text == '{"days": 45}'
    assert got.summary.usage.input_tokens == 200
    assert "does not fit" in house.director.asked[1].messages[-1].text


async def test_an_answer_that_breaks_its_schema_twice_is_refused_with_its_usage_settled(house: House) -> None:
    await make_schema_prompt(house)
    house.director.texts = [["45 days"], ["still 45 days"]]
    with pytest.raises(FailedPrecondition) as refused:
        await answer(house, house.acme, prompt="bound")
    assert refused.value.reason == Reason.OUTPUT_INVALID
    (entry,) = await house.settled(1)
    assert (entry.usage.input_tokens, entry.usage.outcome) == (200, usage_pb2.OUTCOME_FAILED)


async def make_schema_prompt(house: House) -> None:
    schema = '{"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}'
    source = prompt_pb.PromptSource(user="{{ question }}", output_schema=schema)
    with house.room.calling(house.acme):
        stub = PromptServiceStub(house.room.channel("prompts"))
        await stub.CreatePrompt(prompt_pb.CreatePromptRequest(prompt="bound", source=source))


async def test_a_request_over_the_limit_is_refused_and_leads_nothing(house: House) -> None:
    with house.room.calling(caller_of("", "", scopes={"limits.write"})):
        stub = LimitServiceStub(house.room.channel("quota"))
        limits = limit_pb.QuotaLimits(requests_per_minute=1, request_burst=1)
        request = limit_pb.UpdateQuotaLimitsRequest(tenant=house.acme.tenant, overrides=limits)
        await stub.UpdateQuotaLimits(request)
    await answer(house, house.acme, passages=-1)
    with pytest.raises(ResourceExhausted) as refused:
        await answer(house, house.acme, locale="en")
    assert refused.value.reason == Reason.REQUESTS_PER_MINUTE
    assert refused.value.retry_after_s is not None and refused.value.violations
    assert len(house.director.asked) == 1


async def test_an_answer_that_outgrows_its_limits_ends_with_their_refusal_and_is_settled(house: House) -> None:
    for _ in range(20):  # until quota knows that the answers have ten tokens
        await answer(house, house.acme, passages=-1, cache=pb.CACHE_USE_OFF)

    async def settled() -> bool:
        return await running(house) == 0

    await until(settled)
    with house.room.calling(caller_of("", "", scopes={"limits.write"})):
        stub = LimitServiceStub(house.room.channel("quota"))
        limits = limit_pb.QuotaLimits(output_tokens_per_minute=60, output_token_burst=50)
        request = limit_pb.UpdateQuotaLimitsRequest(tenant=house.acme.tenant, overrides=limits)
        await stub.UpdateQuotaLimits(request)
    house.director.texts.append(["word " * 200, "and more"])
    house.director.held = True
    gateway = GatewayServiceStub(house.room.channel("gateway"))
    query = pb.GenerationQuery(question=QUESTION, passages=-1, cache=pb.CACHE_USE_OFF)
    with house.room.calling(house.acme), pytest.raises(ResourceExhausted) as refused:
        async for _ in gateway.StreamGenerateContent(pb.StreamGenerateContentRequest(query=query)):
            pass
    assert refused.value.violations[0][1].startswith("60 output tokens a minute, 50 at once")
    await until(lambda: house.director.cancelled == 1, within_s=5)
    (entry,) = [one for one in await house.settled(21) if one.usage.outcome == usage_pb2.OUTCOME_FAILED]
    assert entry.usage.output_tokens >= 250 and not entry.estimated
    assert await running(house) == 0


async def test_no_passages_are_searched_when_none_are_asked_for(house: House) -> None:
    await house.upload(house.acme, DOCUMENT)
    got = await answer(house, house.acme, passages=-1)
    assert not house.director.asked[0].passages and not got.summary.citations


async def test_a_requests_priority_reaches_the_models_and_makes_no_other_answer_of_it(house: House) -> None:
    await answer(house, house.acme, priority=9)
    assert house.director.asked[0].priority == 9
    assert (await answer(house, house.acme)).summary.usage.cache_hit


async def test_what_another_service_refuses_is_refused_alike_and_holds_nothing(house: House) -> None:
    with pytest.raises(NotFound) as refused:
        await answer(house, house.acme, model="no-such")
    assert refused.value.metadata == {"kind": "model"}
    with pytest.raises(NotFound):
        await answer(house, house.acme, prompt="no-such")
    with pytest.raises(InvalidArgument):
        await answer(house, house.acme, temperature=7.0)
    assert await running(house) == 0


async def test_with_the_cache_off_nothing_is_looked_up_or_stored(house: House) -> None:
    for _ in range(2):
        await answer(house, house.acme, cache=pb.CACHE_USE_OFF)
    assert len(house.director.asked) == 2
    assert not await stored(house)
