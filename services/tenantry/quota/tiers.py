"""What each tier may use, where a tenant has no limits of its own; and the ranges of limits."""

from collections.abc import Mapping
from functools import lru_cache

from tenantry.kit.errors import InvalidArgument
from tenantry.quota.entries import CallLimit, Limits
from tenantry.quota.limit_rules import check_bursts, check_limits, laid_over

TIERS: Mapping[str, Limits] = {
    "free": Limits(60, 20, 100_000, 50_000, 4, tokens_per_month=50_000_000),
    "pro": Limits(1_200, 200, 2_000_000, 500_000, 64),
    "enterprise": Limits(60_000, 6_000, 50_000_000, 10_000_000, 1_024),
}
# All calls where they enter, those that reserve nothing too: well above the requests, which have limits of their own.
CALLS: Mapping[str, CallLimit] = {
    "free": CallLimit(1_200, 400),
    "pro": CallLimit(24_000, 4_000),
    "enterprise": CallLimit(600_000, 60_000),
}
# Of administrators of organisations and of the platform, who have no tier.
ADMINISTRATORS = CALLS["enterprise"]
# A tenant's own limits of requests are never reached by way of the limit of calls.
_CALLS_A_REQUEST = 2
# The least tier, for a tenant whose tier this version does not know.
LEAST = "free"


@lru_cache(maxsize=4_096)
def limits_of(tier: str, overrides: Limits) -> Limits:
    """A tenant's limits as they apply: its own, and the tier's where its own are 0."""
    return laid_over(overrides, TIERS.get(tier, TIERS[LEAST]))


def calls_of(tier: str, overrides: Limits) -> CallLimit:
    """How many calls may enter: the tier's number, and more where the tenant's own limits of requests want more."""
    usual = CALLS.get(tier, CALLS[LEAST])
    return CallLimit(
        max(usual.calls_per_minute, _CALLS_A_REQUEST * overrides.requests_per_minute),
        max(usual.burst, _CALLS_A_REQUEST * overrides.request_burst),
    )


def check_overrides(tier: str, overrides: Limits) -> None:
    """Refuse overrides out of range, all wrong fields at once; a rate and its burst may come one from each."""
    wrong = check_limits(overrides, "overrides") or check_bursts(limits_of(tier, overrides), "overrides")
    if wrong:
        raise InvalidArgument.many(wrong)
