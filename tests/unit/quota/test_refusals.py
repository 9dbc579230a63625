"""What a refusal tells."""

from tenantry.kit.errors import Reason
from tenantry.kit.owner import Tenant
from tenantry.quota.entries import Full, Limits, Refused
from tenantry.quota.refusals import refusal
from tests.harness.demands import demand_of, subject_of

ACME = Tenant("acme-org", "acme")
OWN = Limits(60, 20, 100_000, 50_000, 4, cost_micros_per_day=2_500_000, tokens_per_month=9_000)
DEMAND = demand_of(ACME, OWN, subject_of(ACME, Limits(30, 5), "ann"))


def test_every_limit_that_refuses_is_named_with_its_value_its_use_and_its_time() -> None:
    error = refusal(
        Refused(
            (
                Full(0, "cost_micros_per_day", 2_400_000, 3_600_000_000),
                Full(0, "concurrent_requests", 4, 0),
                Full(1, "requests_per_minute", 5, 1_500_000),
            )
        ),
        DEMAND,
    )
    assert error.violations == [
        ("tenant:acme", "2.5 US dollars a day; 2.4 used; again in 3600.000 s"),
        ("tenant:acme", "4 concurrent requests; 4 used"),
        ("end_user:ann", "30 requests a minute, 5 at once; 5 used; again in 1.500 s"),
    ]
    assert (error.reason, error.retry_after_s) == (Reason.COST_BUDGET, 3_600.0)
    assert error.message == "the limit of 2.5 US dollars a day of tenant:acme is reached"


def test_what_alone_is_larger_than_a_limit_has_no_time_to_come_back() -> None:
    refused = Refused((Full(0, "requests_per_minute", 20, 500), Full(0, "tokens_per_month", 10, -1)))
    error = refusal(refused, DEMAND)
    assert (error.reason, error.retry_after_s) == (Reason.LARGER_THAN_LIMIT, None)
    assert error.violations[1] == ("tenant:acme", "9000 tokens a month; 10 used; the request alone is larger")
    assert error.metadata["limit_tokens"] == "9000" and "reset_tokens" not in error.metadata


def test_of_requests_and_of_tokens_the_limit_that_makes_wait_the_longest_is_told_in_figures() -> None:
    refused = Refused(
        (
            Full(0, "requests_per_minute", 20, 1_000_000),
            Full(1, "requests_per_minute", 5, 2_000_000),
            Full(0, "tokens_per_minute", 49_000, 60_000),
        )
    )
    assert refusal(refused, DEMAND).metadata == {
        "limit_requests": "30",
        "remaining_requests": "0",
        "reset_requests": "2.000s",
        "limit_tokens": "100000",
        "remaining_tokens": "1000",
        "reset_tokens": "0.060s",
    }
