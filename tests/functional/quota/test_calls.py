"""The limit of calls where they enter, as Envoy and as kit's own edge ask it."""

import asyncio
import base64
import time
from typing import Any

import pytest
from google.rpc import status_pb2

from tenantry.api.envoy.service.ratelimit.v3 import rls_pb2
from tenantry.api.envoy.service.ratelimit.v3.rls_pb2_grpc import RateLimitServiceStub
from tenantry.api.quota.v1 import call_service_pb2 as pb
from tenantry.api.quota.v1.call_service_pb2_grpc import CallServiceStub
from tenantry.kit.caller import Caller
from tenantry.kit.errors import InvalidArgument, PermissionDenied, Reason, ResourceExhausted, Unauthenticated
from tenantry.kit.owner import Tenant
from tenantry.kit.status import DETAILS, from_status
from tenantry.quota.counted_ahead import told
from tenantry.quota.tiers import CALLS
from tests.functional.quota.quota_room import Quota
from tests.harness.calls import use_up
from tests.harness.poll import until
from tests.harness.room import caller_of
from tests.harness.stores import RedisServer

OK, OVER_LIMIT = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT
# What the books admit in one moment: the burst less what may be on its way, counted ahead.
AT_ONCE = told(CALLS["pro"]).burst


def asked(caller: Caller, hits: int = 0) -> rls_pb2.RateLimitRequest:
    """What Envoy asks for a call of the caller's."""
    request = rls_pb2.RateLimitRequest(domain="tenantry", hits_addend=hits)
    entries = request.descriptors.add().entries
    for key, value in (("generic_key", "call"), ("organisation", caller.organisation), ("tenant", caller.tenant)):
        if value:
            entries.add(key=key, value=value)
    return request


async def envoy(quota: Quota, caller: Caller, hits: int = 0, *, service: str | None = "edge") -> Any:
    stub = RateLimitServiceStub(quota.room.channel(service=service))
    return await stub.ShouldRateLimit(asked(caller, hits))


async def kit_edge(quota: Quota, caller: Caller) -> None:
    with quota.room.calling(caller):
        await CallServiceStub(quota.room.channel(service="gateway")).AdmitCall(pb.AdmitCallRequest())


def status_of(answer: rls_pb2.RateLimitResponse) -> status_pb2.Status:
    headers = {one.key: one.value for one in answer.response_headers_to_add}
    status = status_pb2.Status.FromString(base64.b64decode(headers[DETAILS] + "=="))
    assert headers["grpc-status"] == str(status.code) and answer.raw_body.decode() == status.message
    return status


async def test_both_edges_ask_one_limit_and_refuse_with_the_same_words(quota: Quota, valkey_books: str) -> None:
    assert (await envoy(quota, quota.globex)).overall_code == OK
    await kit_edge(quota, quota.globex)
    await use_up(valkey_books, Tenant(quota.acme.organisation, quota.acme.tenant), CALLS["pro"])
    by_envoy = from_status(status_of(await envoy(quota, quota.acme)))
    with pytest.raises(ResourceExhausted) as refused:
        await kit_edge(quota, quota.acme)
    assert isinstance(by_envoy, ResourceExhausted)
    assert by_envoy.reason is refused.value.reason is Reason.CALLS_PER_MINUTE
    assert by_envoy.message == refused.value.message
    limit = [(f"tenant:{quota.acme.tenant}", "24000 calls a minute, 3960 at once")]
    assert by_envoy.violations == refused.value.violations == limit
    assert refused.value.retry_after_s and by_envoy.retry_after_s


async def test_hits_are_counted_all_or_none_and_one_when_none_are_named(quota: Quota) -> None:
    assert (await envoy(quota, quota.globex, AT_ONCE + 1)).overall_code == OVER_LIMIT
    assert (await envoy(quota, quota.globex, AT_ONCE)).overall_code == OK
    answer = await envoy(quota, quota.globex, AT_ONCE)
    assert answer.overall_code == OVER_LIMIT
    details = {detail.type_url.rpartition(".")[2] for detail in status_of(answer).details}
    assert details == {"ErrorInfo", "RetryInfo", "QuotaFailure"}


async def test_a_descriptors_hits_take_the_place_of_the_requests_and_none_are_counted_of_0(quota: Quota) -> None:
    stub = RateLimitServiceStub(quota.room.channel(service="edge"))
    for hits, code in ((0, OK), (2**64 - 1, OVER_LIMIT), (AT_ONCE, OK), (0, OK), (AT_ONCE, OVER_LIMIT)):
        request = asked(quota.globex, 7)
        request.descriptors[0].hits_addend.value = hits
        assert (await stub.ShouldRateLimit(request)).overall_code == code, hits


async def test_hits_that_shall_be_given_back_are_refused_and_not_counted(quota: Quota) -> None:
    stub = RateLimitServiceStub(quota.room.channel(service="edge"))
    request = asked(quota.globex, AT_ONCE)
    request.descriptors[0].is_negative_hits = True
    with pytest.raises(InvalidArgument) as refused:
        await stub.ShouldRateLimit(request)
    assert refused.value.violations[0][0] == "descriptors[0].is_negative_hits"
    assert (await envoy(quota, quota.globex, AT_ONCE)).overall_code == OK


async def test_more_hits_than_can_ever_be_at_once_are_refused_without_a_time_to_come_back(quota: Quota) -> None:
    for hits in (AT_ONCE + 1, 2**31, 2**32 - 1):
        status = status_of(await envoy(quota, quota.globex, hits))
        assert {detail.type_url.rpartition(".")[2] for detail in status.details} == {"ErrorInfo", "QuotaFailure"}
    assert (await envoy(quota, quota.globex, AT_ONCE)).overall_code == OK, "what was refused took nothing"


async def test_envoy_is_answered_at_once_however_long_the_limit_makes_wait(quota: Quota) -> None:
    assert (await envoy(quota, quota.acme, AT_ONCE)).overall_code == OK
    started = time.monotonic()
    answers = await asyncio.gather(*(envoy(quota, quota.acme, AT_ONCE) for _ in range(50)))
    took_s = time.monotonic() - started
    assert {answer.overall_code for answer in answers} == {OVER_LIMIT}
    for refused in (from_status(status_of(answer)) for answer in answers):
        assert isinstance(refused, ResourceExhausted) and refused.retry_after_s and took_s < refused.retry_after_s


async def test_the_limit_of_calls_counts_nothing_that_a_reservation_counts(quota: Quota, valkey_books: str) -> None:
    before = await quota.usage(quota.acme)
    await use_up(valkey_books, Tenant(quota.acme.organisation, quota.acme.tenant), CALLS["pro"])
    after = await quota.usage(quota.acme)
    assert (after.requests_available, after.tokens_available) == (before.requests_available, before.tokens_available)
    # The limit of calls is used up, and requests are admitted as before.
    for _ in range(20):
        await quota.reserve(quota.acme)


async def test_a_tenant_s_own_limits_of_requests_are_never_reached_by_way_of_calls(quota: Quota) -> None:
    await quota.override(quota.globex.tenant, requests_per_minute=100_000, request_burst=4_000)
    assert (await envoy(quota, quota.globex, 4_000)).overall_code == OK


async def test_administrators_have_limits_of_their_own(quota: Quota) -> None:
    most = told(CALLS["enterprise"]).burst
    admin = caller_of("", quota.acme.organisation)
    assert (await envoy(quota, admin, most)).overall_code == OK
    status = status_of(await envoy(quota, admin, most))
    assert "administrators" in status.message
    assert (await envoy(quota, quota.acme)).overall_code == OK


@pytest.mark.parametrize("service", ["gateway", "tenancy", None])
async def test_only_envoy_may_say_whose_a_call_is(quota: Quota, service: str | None) -> None:
    with pytest.raises((PermissionDenied, Unauthenticated)):
        await envoy(quota, quota.acme, service=service)


async def test_a_question_about_no_or_several_owners_is_refused(quota: Quota) -> None:
    stub = RateLimitServiceStub(quota.room.channel(service="edge"))
    for descriptors in (0, 2):
        request = rls_pb2.RateLimitRequest()
        for _ in range(descriptors):
            request.descriptors.add()
        with pytest.raises(InvalidArgument) as refused:
            await stub.ShouldRateLimit(request)
        assert refused.value.violations[0][0] == "descriptors"


async def test_books_that_are_away_for_long_let_nobody_in(impatient: Quota, own_books: RedisServer) -> None:
    own_books.stop()
    assert (await envoy(impatient, impatient.acme)).overall_code == OK, "its share of calls, for a while"
    answers: list[rls_pb2.RateLimitResponse] = []

    async def refused() -> bool:
        answers.append(await envoy(impatient, impatient.acme))
        return answers[-1].overall_code == OVER_LIMIT

    await until(refused)
    status = status_of(answers[-1])
    error = from_status(status)
    assert (error.code, error.reason) == ("UNAVAILABLE", Reason.STORE_UNAVAILABLE)
    assert any(detail.type_url.endswith(".RetryInfo") for detail in status.details)
