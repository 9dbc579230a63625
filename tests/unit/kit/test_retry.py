"""When a failed call may be sent again, and after how long."""

import pytest

from tenantry.kit.errors import NotFound, Reason, Unavailable
from tenantry.kit.retry import Budget, repeatable, wait_before
from tests.harness.protos import echo_pb2  # noqa: F401 - its descriptors

ECHO = "/tenantry.api.echo.v1.EchoService/"


def away(retry_after_s: float | None = None) -> Unavailable:
    return Unavailable(Reason.STORE_UNAVAILABLE, "away", retry_after_s=retry_after_s)


def test_waits_grow_with_jitter_and_end_after_the_third_attempt() -> None:
    first = {wait_before(1, away()) for _ in range(200)}
    assert len(first) > 100
    assert all(wait is not None and 0.025 <= wait <= 0.05 for wait in first)
    assert 0.05 <= (wait_before(2, away()) or 0) <= 0.1
    assert wait_before(3, away()) is None


def test_a_longer_wait_that_the_server_asks_for_is_kept() -> None:
    assert wait_before(1, away(2.5)) == 2.5
    assert (wait_before(1, away(0.0)) or 0) >= 0.025


def test_a_refusal_is_final() -> None:
    assert wait_before(1, NotFound(Reason.NOT_FOUND, "no")) is None


def test_the_budget_is_spent_by_failures_and_earned_by_successes() -> None:
    budget = Budget(tokens=4, ratio=0.5)
    assert budget.allows()
    budget.failed()
    assert budget.allows()
    budget.failed()
    assert not budget.allows()
    budget.succeeded()
    assert budget.allows()
    for _ in range(100):
        budget.succeeded()
    for _ in range(2):
        budget.failed()
    assert not budget.allows()


@pytest.mark.parametrize(
    ("method", "expected"), [("Echo", True), ("Gossip", True), ("EchoOnce", False), ("Nothing", False)]
)
def test_only_what_the_contract_calls_idempotent_is_repeatable(method: str, expected: bool) -> None:
    assert repeatable(ECHO + method) is expected
