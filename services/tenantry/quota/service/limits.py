"""Limits, their rules and their use, for tenants and administrators."""

from collections.abc import Sequence
from typing import Any

from grpc import aio

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.quota.v1 import limit_service_pb2 as pb
from tenantry.api.quota.v1 import limit_service_pb2_grpc as limit_grpc
from tenantry.kit import caller, paging
from tenantry.kit.messages import time_message
from tenantry.quota.entries import NO_OVERRIDES, Limits, Rule, TenantSettings
from tenantry.quota.limit_rules import NAMES
from tenantry.quota.limits import QuotaLimits, Use
from tenantry.quota.refusal_counts import RefusalCounts
from tenantry.quota.rule_setting import RuleSetting

Context = aio.ServicerContext[Any, Any]


class LimitService(limit_grpc.LimitServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, limits: QuotaLimits, rules: RuleSetting, refusals: RefusalCounts) -> None:
        self._limits = limits
        self._rules = rules
        self._refusals = refusals

    async def GetQuotaLimits(self, request: pb.GetQuotaLimitsRequest, context: Context) -> pb.GetQuotaLimitsResponse:
        limits, found = await self._limits.get(caller.current(), request.tenant)
        return pb.GetQuotaLimitsResponse(
            limits=_limits(limits),
            overrides=_limits(found.overrides),
            tier=found.tier,
            version=found.version,
            time_zone=found.time_zone,
            queue_weight=found.queue_weight,
        )

    async def GetQuotaUsage(self, request: pb.GetQuotaUsageRequest, context: Context) -> pb.GetQuotaUsageResponse:
        limits, uses = await self._limits.use(caller.current(), request.tenant, request.end_user)
        own = {use.measure: use.used for use in reversed(uses) if use.subject == uses[0].subject}
        return pb.GetQuotaUsageResponse(
            limits=_limits(limits),
            requests_available=limits.request_burst - own.get("requests_per_minute", 0),
            tokens_available=limits.token_burst - own.get("tokens_per_minute", 0),
            requests_running=own.get("concurrent_requests", 0),
            uses=[_use(use) for use in uses],
        )

    async def ListRefusedTenants(
        self, request: pb.ListRefusedTenantsRequest, context: Context
    ) -> pb.ListRefusedTenantsResponse:
        refused = await self._refusals.list(caller.current(), request.tenant)
        return pb.ListRefusedTenantsResponse(
            tenants=[pb.RefusedTenant(tenant=tenant, refusals=count) for tenant, count in refused]
        )

    async def UpdateQuotaLimits(
        self, request: pb.UpdateQuotaLimitsRequest, context: Context
    ) -> pb.UpdateQuotaLimitsResponse:
        settings = TenantSettings(_limits_of(request.overrides), request.time_zone or "UTC", request.queue_weight)
        limits, version, over = await self._limits.override(caller.current(), request.tenant, settings, request.version)
        return pb.UpdateQuotaLimitsResponse(limits=_limits(limits), version=version, in_use=[_use(use) for use in over])

    async def SetLimitRule(self, request: pb.SetLimitRuleRequest, context: Context) -> pb.SetLimitRuleResponse:
        owner, zone = await self._rules.owner(caller.current(), request.tenant, request.organisation)
        given = request.rule
        rule = Rule(owner, given.key_id, given.end_user, given.model, _limits_of(given.limits))
        new, over = await self._rules.put(rule, request.version, zone)
        return pb.SetLimitRuleResponse(rule=_rule(new), in_use=[_use(use) for use in over])

    async def DeleteLimitRule(self, request: pb.DeleteLimitRuleRequest, context: Context) -> pb.DeleteLimitRuleResponse:
        owner, _ = await self._rules.owner(caller.current(), request.tenant, request.organisation)
        rule = Rule(owner, request.key_id, request.end_user, request.model, NO_OVERRIDES)
        await self._rules.remove(rule, request.version)
        return pb.DeleteLimitRuleResponse()

    async def ListLimitRules(self, request: pb.ListLimitRulesRequest, context: Context) -> pb.ListLimitRulesResponse:
        owner, _ = await self._rules.owner(caller.current(), request.tenant, request.organisation)
        size = paging.size_of(request.page.size)
        position = paging.position_of(request.page.token, [str, str, str])
        after = None if position is None else (str(position[0]), str(position[1]), str(position[2]))
        found = await self._rules.page(owner, after, size + 1)
        return pb.ListLimitRulesResponse(
            rules=[_rule(rule) for rule in found[:size]],
            page=paging_pb2.PageResponse(next_token=_next(found, size)),
        )


def _limits(limits: Limits) -> pb.QuotaLimits:
    return pb.QuotaLimits(**{name: getattr(limits, name) for name in NAMES})


def _limits_of(limits: pb.QuotaLimits) -> Limits:
    return Limits(**{name: getattr(limits, name) for name in NAMES})


def _rule(rule: Rule) -> pb.LimitRule:
    return pb.LimitRule(
        key_id=rule.key_id,
        end_user=rule.end_user,
        model=rule.model,
        limits=_limits(rule.limits),
        version=rule.version,
    )


def _use(use: Use) -> pb.LimitUse:
    return pb.LimitUse(
        subject=use.subject,
        measure=use.measure,
        limit=use.limit,
        burst=use.burst,
        used=use.used,
        free_time=time_message(use.free_us * 1000) if use.free_us else None,
        warned_percent=use.warned,
    )


def _next(found: Sequence[Rule], size: int) -> str:
    if len(found) <= size:
        return ""
    last = found[size - 1]
    return paging.token_of(last.key_id, last.end_user, last.model)
