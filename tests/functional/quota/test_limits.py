"""LimitService as tenants and administrators see it."""

import pytest

from tenantry.api.quota.v1 import limit_service_pb2 as pb
from tenantry.kit.errors import Aborted, InvalidArgument, NotFound, PermissionDenied
from tests.functional.quota.quota_room import Quota
from tests.harness.room import caller_of

OPERATOR = caller_of("", "", scopes={"limits.read", "limits.write"})


async def test_a_tenant_sees_its_tiers_limits(quota: Quota) -> None:
    with quota.room.calling(quota.acme):
        answer = await quota.limits.GetQuotaLimits(pb.GetQuotaLimitsRequest())
    assert (answer.tier, answer.version, answer.overrides) == ("pro", 0, pb.QuotaLimits())
    assert answer.limits.concurrent_requests == 64


async def test_the_tier_is_quotas_own_whatever_the_assertion_says(quota: Quota) -> None:
    caller = caller_of(quota.acme.tenant, quota.acme.organisation, tier="enterprise", scopes={"limits.read"})
    with quota.room.calling(caller):
        assert (await quota.limits.GetQuotaLimits(pb.GetQuotaLimitsRequest())).tier == "pro"


async def test_overrides_apply_at_once_and_replace_all_earlier_ones(quota: Quota) -> None:
    tenant = quota.acme.tenant
    with quota.room.calling(OPERATOR):
        first = pb.UpdateQuotaLimitsRequest(tenant=tenant, overrides=pb.QuotaLimits(token_burst=7))
        answer = await quota.limits.UpdateQuotaLimits(first)
        assert (answer.version, answer.limits.token_burst, answer.limits.concurrent_requests) == (1, 7, 64)
        assert (await quota.limits.GetQuotaUsage(pb.GetQuotaUsageRequest(tenant=tenant))).tokens_available == 7
        second = pb.UpdateQuotaLimitsRequest(tenant=tenant, overrides=pb.QuotaLimits(concurrent_requests=1), version=1)
        await quota.limits.UpdateQuotaLimits(second)
        found = await quota.limits.GetQuotaLimits(pb.GetQuotaLimitsRequest(tenant=tenant))
        assert (found.version, found.overrides) == (2, pb.QuotaLimits(concurrent_requests=1))
        with pytest.raises(Aborted) as refused:
            await quota.limits.UpdateQuotaLimits(second)
        assert refused.value.metadata["version"] == "2"


async def test_each_override_out_of_range_is_named(quota: Quota) -> None:
    overrides = pb.QuotaLimits(requests_per_minute=-1, tokens_per_minute=10**8 + 1)
    request = pb.UpdateQuotaLimitsRequest(tenant=quota.acme.tenant, overrides=overrides)
    with quota.room.calling(OPERATOR), pytest.raises(InvalidArgument) as refused:
        await quota.limits.UpdateQuotaLimits(request)
    named = [field for field, _ in refused.value.violations]
    assert named == ["overrides.requests_per_minute", "overrides.tokens_per_minute"]


async def test_administrators_may_name_their_own_tenants_alone(quota: Quota) -> None:
    theirs, others = quota.acme, quota.globex
    admins = [
        caller_of("", theirs.organisation, scopes={"limits.read"}),
        caller_of(theirs.tenant, theirs.organisation, scopes={"limits.read"}),
    ]
    for admin in admins:
        with quota.room.calling(admin):
            await quota.limits.GetQuotaUsage(pb.GetQuotaUsageRequest(tenant=theirs.tenant))
            for tenant in (others.tenant, "nobody"):
                with pytest.raises(NotFound) as refused:
                    await quota.limits.GetQuotaUsage(pb.GetQuotaUsageRequest(tenant=tenant))
                assert refused.value.message == "there is no such tenant"
    with quota.room.calling(OPERATOR):
        await quota.limits.GetQuotaUsage(pb.GetQuotaUsageRequest(tenant=others.tenant))


async def test_a_missing_scope_is_said_before_anything_else(quota: Quota) -> None:
    request = pb.UpdateQuotaLimitsRequest(tenant="nobody")
    with quota.room.calling(quota.acme), pytest.raises(PermissionDenied) as refused:
        await quota.limits.UpdateQuotaLimits(request)
    assert refused.value.metadata == {"scope": "limits.write"}


async def test_an_administrator_without_a_tenant_must_name_one(quota: Quota) -> None:
    with quota.room.calling(OPERATOR):
        for call in (
            quota.limits.GetQuotaUsage(pb.GetQuotaUsageRequest()),
            quota.limits.UpdateQuotaLimits(pb.UpdateQuotaLimitsRequest()),
        ):
            with pytest.raises(InvalidArgument) as refused:
                await call
            assert refused.value.violations[0][0] == "tenant"
