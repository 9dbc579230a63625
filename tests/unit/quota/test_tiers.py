"""Limits of tiers and a tenant's own."""

from dataclasses import replace

import pytest

from tenantry.kit.errors import InvalidArgument
from tenantry.kit.lifecycle import TIERS as KNOWN_TIERS
from tenantry.quota.entries import NO_OVERRIDES, Limits
from tenantry.quota.limit_rules import MOST
from tenantry.quota.tiers import TIERS, check_overrides, limits_of


def test_every_tier_has_limits_in_range() -> None:
    assert set(TIERS) == set(KNOWN_TIERS)
    for tier, limits in TIERS.items():
        check_overrides(tier, limits)
        assert 0 not in (limits.requests_per_minute, limits.token_burst, limits.concurrent_requests)


def test_a_tenants_own_limits_replace_the_tiers_one_by_one() -> None:
    own = replace(NO_OVERRIDES, token_burst=7)
    assert limits_of("pro", own) == replace(TIERS["pro"], token_burst=7)


def test_an_unknown_tier_gets_the_least() -> None:
    assert limits_of("platinum", NO_OVERRIDES) == TIERS["free"]


def test_each_override_out_of_range_is_named() -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_overrides("pro", Limits(-1, MOST.request_burst + 1, 0, MOST.token_burst, 1))
    named = [field for field, _ in refused.value.violations]
    assert named == ["overrides.requests_per_minute", "overrides.request_burst"]


def test_a_rate_needs_a_burst_of_its_own_or_the_tiers() -> None:
    check_overrides("pro", Limits(requests_per_minute=5))
    with pytest.raises(InvalidArgument) as refused:
        check_overrides("pro", Limits(input_tokens_per_minute=5, output_token_burst=5))
    named = [field for field, _ in refused.value.violations]
    assert named == ["overrides.input_token_burst", "overrides.output_tokens_per_minute"]
