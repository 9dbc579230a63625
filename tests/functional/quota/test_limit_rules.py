"""Rules of limits as administrators set them and requests meet them."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tenantry.api.common.v1.usage_pb2 import OUTCOME_OK, Usage
from tenantry.api.quota.v1 import limit_service_pb2 as pb
from tenantry.api.quota.v1 import reservation_service_pb2 as reservation_pb
from tenantry.kit.caller import Caller
from tenantry.kit.errors import Aborted, InvalidArgument, NotFound, PermissionDenied, Reason, ResourceExhausted
from tests.functional.quota.quota_room import Quota, replicas
from tests.harness.poll import until
from tests.harness.room import caller_of

OPERATOR = caller_of("", "", scopes={"limits.read", "limits.write"})


async def set_rule(
    quota: Quota, tenant: str = "", organisation: str = "", version: int = 0, **about: Any
) -> pb.LimitRule:
    limits = {name: about.pop(name) for name in list(about) if name not in ("key_id", "end_user", "model")}
    rule = pb.LimitRule(limits=pb.QuotaLimits(**limits), **about)
    request = pb.SetLimitRuleRequest(tenant=tenant, organisation=organisation, rule=rule, version=version)
    with quota.room.calling(OPERATOR):
        return (await quota.limits.SetLimitRule(request)).rule


async def ask(
    quota: Quota, caller: Caller, *, user: str = "", model: str = "gpt", read: int = 10, most: int = 0, price: int = 0
) -> reservation_pb.ReserveQuotaResponse:
    request = reservation_pb.ReserveQuotaRequest(
        nonce=f"nonce-{secrets.token_hex(8)}",
        model=model,
        end_user=user,
        input_tokens=read,
        max_output_tokens=most,
        input_price_micros=price,
        output_price_micros=price,
    )
    with quota.room.calling(caller):
        return await quota.reservations.ReserveQuota(request)


async def refused(quota: Quota, caller: Caller, **about: Any) -> ResourceExhausted:
    with pytest.raises(ResourceExhausted) as found:
        await ask(quota, caller, **about)
    return found.value


async def settle(quota: Quota, receipt: reservation_pb.Receipt, **used: Any) -> None:
    usage = Usage(outcome=OUTCOME_OK, **used)
    await quota.reservations.CommitReservation(reservation_pb.CommitReservationRequest(receipt=receipt, usage=usage))


async def uses(quota: Quota, tenant: str, end_user: str = "") -> dict[tuple[str, str], pb.LimitUse]:
    request = pb.GetQuotaUsageRequest(tenant=tenant, end_user=end_user)
    with quota.room.calling(OPERATOR):
        answer = await quota.limits.GetQuotaUsage(request)
    return {(use.subject.partition(" ")[2], use.measure): use for use in answer.uses}


async def test_a_models_limit_refuses_its_own_requests_alone(quota: Quota) -> None:
    await set_rule(quota, quota.acme.tenant, model="gpt", requests_per_minute=1, request_burst=1)
    await ask(quota, quota.acme)
    error = await refused(quota, quota.acme)
    assert error.violations[0][0] == f"tenant:{quota.acme.tenant} model:gpt"
    await ask(quota, quota.acme, model="claude")
    await ask(quota, quota.globex)


async def test_an_organisations_limit_is_shared_by_its_tenants(quota: Quota) -> None:
    organisation = quota.acme.organisation
    await set_rule(quota, organisation=organisation, tokens_per_day=100)
    await ask(quota, quota.acme, read=60)
    error = await refused(quota, quota.acme, read=41)
    assert error.reason == Reason.TOKENS_BUDGET
    assert error.violations[0][0] == f"organisation:{organisation}"
    assert error.retry_after_s is not None and 0 < error.retry_after_s <= 86_400


async def test_each_end_user_has_a_budget_of_its_own_and_a_named_one_another(quota: Quota) -> None:
    tenant = quota.acme.tenant
    await set_rule(quota, tenant, end_user="*", tokens_per_day=50)
    await set_rule(quota, tenant, end_user="ann", tokens_per_day=80)
    for user, read in (("bob", 50), ("eve", 50), ("ann", 80)):
        await ask(quota, quota.acme, user=user, read=read)
        error = await refused(quota, quota.acme, user=user, read=1)
        assert error.violations[0][0] == f"tenant:{tenant} end_user:{user}"
    await ask(quota, quota.acme, read=1)
    found = await uses(quota, tenant, "bob")
    assert found["end_user:bob", "tokens_per_day"].used == 50
    assert found["end_user:ann", "tokens_per_day"].limit == 80


async def test_a_cost_budget_holds_the_estimate_and_keeps_what_was_settled(quota: Quota) -> None:
    await quota.override(quota.acme.tenant, cost_micros_per_month=1_000)
    held = await ask(quota, quota.acme, read=600, most=300, price=1_000_000)
    assert (await refused(quota, quota.acme, read=101, price=1_000_000)).reason == Reason.COST_BUDGET
    await settle(quota, held.receipt, input_tokens=500, output_tokens=20, cost_micros=520)
    assert (await uses(quota, quota.acme.tenant))["", "cost_micros_per_month"].used == 520
    await ask(quota, quota.acme, read=480, price=1_000_000)


async def test_a_price_beyond_all_reason_is_held_at_a_thousand_dollars_a_million(quota: Quota) -> None:
    await quota.override(quota.acme.tenant, cost_micros_per_day=10**14)
    await ask(quota, quota.acme, read=10, price=10**12)
    assert (await uses(quota, quota.acme.tenant))["", "cost_micros_per_day"].used == 10_000


async def test_what_answers_are_expected_to_need_is_held_and_a_stream_is_charged_as_it_grows(quota: Quota) -> None:
    await quota.override(quota.acme.tenant, tokens_per_day=5_000)
    for _ in range(20):
        held = await ask(quota, quota.acme, read=0, most=100)
        assert (held.held_output_tokens, held.receipt.held_tokens) == (100, 100)
        await settle(quota, held.receipt, output_tokens=10)
    held = await ask(quota, quota.acme, read=5, most=4_000)
    assert (held.held_output_tokens, held.receipt.held_tokens) == (10, 15)
    renewal = reservation_pb.RenewReservationRequest(receipt=held.receipt, output_tokens=1_000)
    assert (await quota.reservations.RenewReservation(renewal)).held_output_tokens == 1_500
    other = await ask(quota, quota.acme, model="other", read=3_000)
    renewal.output_tokens = 1_600
    with pytest.raises(ResourceExhausted) as longer:
        await quota.reservations.RenewReservation(renewal)
    assert longer.value.reason == Reason.TOKENS_BUDGET
    await settle(quota, held.receipt, input_tokens=5, output_tokens=1_600)
    await settle(quota, other.receipt)
    assert (await uses(quota, quota.acme.tenant))["", "tokens_per_day"].used == 200 + 1_605


@pytest.mark.parametrize("output_tokens", [-1, 10**8 + 1, 2**63 - 1])
async def test_a_renewal_that_tells_an_amount_that_no_answer_has_is_refused(quota: Quota, output_tokens: int) -> None:
    receipt = await quota.reserve(quota.acme)
    request = reservation_pb.RenewReservationRequest(receipt=receipt, output_tokens=output_tokens)
    with pytest.raises(InvalidArgument) as error:
        await quota.reservations.RenewReservation(request)
    assert error.value.violations[0][0] == "output_tokens"


async def test_a_rule_is_written_by_the_version_that_was_read_listed_and_deleted(quota: Quota) -> None:
    tenant = quota.acme.tenant
    first = await set_rule(quota, tenant, model="gpt", tokens_per_day=5)
    second = await set_rule(quota, tenant, model="gpt", tokens_per_day=6, version=1)
    assert (first.version, second.version) == (1, 2)
    with pytest.raises(Aborted) as conflict:
        await set_rule(quota, tenant, model="gpt", tokens_per_day=7, version=1)
    assert conflict.value.metadata == {"version": "2"}
    await set_rule(quota, tenant, model="claude", concurrent_requests=1)
    with quota.room.calling(OPERATOR):
        listing = pb.ListLimitRulesRequest(tenant=tenant)
        listing.page.size = 1
        page = await quota.limits.ListLimitRules(listing)
        assert [rule.model for rule in page.rules] == ["claude"]
        listing.page.token = page.page.next_token
        page = await quota.limits.ListLimitRules(listing)
        assert list(page.rules) == [second] and not page.page.next_token
        gone = pb.DeleteLimitRuleRequest(tenant=tenant, model="gpt", version=2)
        await quota.limits.DeleteLimitRule(gone)
        with pytest.raises(Aborted):
            await quota.limits.DeleteLimitRule(gone)
        gone.version = 0
        with pytest.raises(NotFound):
            await quota.limits.DeleteLimitRule(gone)
    await ask(quota, quota.acme, read=1_000)


async def test_a_limit_below_what_is_in_use_is_taken_and_says_so(quota: Quota) -> None:
    tenant = quota.acme.tenant
    await quota.override(tenant, tokens_per_day=1_000)
    await ask(quota, quota.acme, read=500)
    request = pb.UpdateQuotaLimitsRequest(tenant=tenant, overrides=pb.QuotaLimits(tokens_per_day=100), version=1)
    with quota.room.calling(OPERATOR):
        answer = await quota.limits.UpdateQuotaLimits(request)
    [over] = answer.in_use
    assert (over.measure, over.limit, over.used) == ("tokens_per_day", 100, 500)
    assert over.HasField("free_time")
    assert (await refused(quota, quota.acme, read=1)).reason == Reason.TOKENS_BUDGET


async def test_a_tenant_has_a_time_zone_and_a_weight_and_wrong_ones_are_named(quota: Quota) -> None:
    tenant = quota.acme.tenant
    with quota.room.calling(OPERATOR):
        request = pb.UpdateQuotaLimitsRequest(tenant=tenant, time_zone="Asia/Tokyo", queue_weight=7)
        await quota.limits.UpdateQuotaLimits(request)
        found = await quota.limits.GetQuotaLimits(pb.GetQuotaLimitsRequest(tenant=tenant))
        assert (found.time_zone, found.queue_weight) == ("Asia/Tokyo", 7)
        wrong = pb.UpdateQuotaLimitsRequest(tenant=tenant, time_zone="Asia/Nowhere", queue_weight=1_001, version=1)
        with pytest.raises(InvalidArgument) as error:
            await quota.limits.UpdateQuotaLimits(wrong)
    assert [field for field, _ in error.value.violations] == ["time_zone", "queue_weight"]


async def test_a_soft_limit_is_told_in_the_log_and_in_the_usage(quota: Quota, caplog: pytest.LogCaptureFixture) -> None:
    await quota.override(quota.acme.tenant, tokens_per_day=100)
    await ask(quota, quota.acme, user="ann", read=85)
    [warning] = [record for record in caplog.records if record.name == "tenantry.quota.reservations"]
    assert (warning.tenant, warning.limit, warning.percent) == (quota.acme.tenant, "tokens_per_day", 80)  # type: ignore[attr-defined]
    assert "ann" not in warning.getMessage()
    assert (await uses(quota, quota.acme.tenant))["", "tokens_per_day"].warned_percent == 80


async def test_rules_are_for_those_who_may_write_limits_and_an_organisations_not_for_its_tenants(quota: Quota) -> None:
    acme, organisation = quota.acme.tenant, quota.acme.organisation
    reader = caller_of(acme, organisation, scopes={"limits.read"})
    writer = caller_of(acme, organisation, scopes={"limits.read", "limits.write"})
    admin = caller_of("", organisation, scopes={"limits.read", "limits.write"})
    rule = pb.LimitRule(model="gpt", limits=pb.QuotaLimits(concurrent_requests=5))
    mine = pb.SetLimitRuleRequest(tenant=acme, rule=rule)
    shared = pb.SetLimitRuleRequest(organisation=organisation, rule=rule)
    with quota.room.calling(reader):
        with pytest.raises(PermissionDenied):
            await quota.limits.SetLimitRule(mine)
        await quota.limits.ListLimitRules(pb.ListLimitRulesRequest())
        with pytest.raises(NotFound):
            await quota.limits.ListLimitRules(pb.ListLimitRulesRequest(organisation=organisation))
    with quota.room.calling(writer):
        for request in (shared, pb.SetLimitRuleRequest(tenant=quota.globex.tenant, rule=rule)):
            with pytest.raises(NotFound):
                await quota.limits.SetLimitRule(request)
    with quota.room.calling(admin):
        await quota.limits.SetLimitRule(shared)
        for request in (
            pb.SetLimitRuleRequest(organisation=quota.globex.organisation, rule=rule),
            pb.SetLimitRuleRequest(organisation="nobody-org", rule=rule),
        ):
            with pytest.raises(NotFound):
                await quota.limits.SetLimitRule(request)
        both = pb.SetLimitRuleRequest(tenant=acme, organisation=organisation, rule=rule)
        with pytest.raises(InvalidArgument):
            await quota.limits.SetLimitRule(both)


async def test_what_is_used_of_an_organisations_limits_is_not_told_to_its_tenants(quota: Quota) -> None:
    await set_rule(quota, organisation=quota.acme.organisation, tokens_per_day=1_000)
    shown = {use.subject for use in (await quota.usage(quota.acme)).uses}
    assert shown == {f"tenant:{quota.acme.tenant}"}
    admin = caller_of("", quota.acme.organisation, scopes={"limits.read"})
    with quota.room.calling(admin):
        answer = await quota.limits.GetQuotaUsage(pb.GetQuotaUsageRequest(tenant=quota.acme.tenant))
    assert f"organisation:{quota.acme.organisation}" in {use.subject for use in answer.uses}


async def test_a_tenant_that_is_made_again_has_none_of_its_old_rules(quota: Quota) -> None:
    await set_rule(quota, quota.acme.tenant, model="gpt", concurrent_requests=1)
    await quota.deprovision(quota.acme)
    await quota.provision(quota.acme)
    with quota.room.calling(OPERATOR):
        answer = await quota.limits.ListLimitRules(pb.ListLimitRulesRequest(tenant=quota.acme.tenant))
    assert not answer.rules


@pytest.fixture
async def two(valkey_books: str, tmp_path: Path) -> AsyncIterator[list[Quota]]:
    """Two replicas on the same books and the same database."""
    async with AsyncExitStack() as stack:
        yield await replicas(stack, valkey_books, tmp_path)


async def test_a_change_is_in_force_at_every_replica_within_a_second(two: list[Quota]) -> None:
    here, there = two
    for tenant, organisation, model in ((here.acme.tenant, "", "gpt"), ("", here.acme.organisation, "")):
        await ask(there, there.acme)
        await set_rule(here, tenant, organisation, model=model, tokens_per_minute=1, token_burst=1)

        async def refuses() -> bool:
            try:
                await ask(there, there.acme)
            except ResourceExhausted:
                return True
            return False

        await until(refuses, within_s=1.0)
        await set_rule(here, tenant, organisation, 1, model=model, concurrent_requests=1_000)

        async def admits() -> bool:
            return not await refuses()

        await until(admits, within_s=1.0)
