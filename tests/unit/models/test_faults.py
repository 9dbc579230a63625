"""What a provider's refusal tells its caller."""

import pytest

from tenantry.models import faults


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-1", None),
        ("nan", None),
        ("inf", faults.MOST_RETRY_AFTER_S),
        ("1e9", faults.MOST_RETRY_AFTER_S),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("x" * 10_000, None),
    ],
)
def test_retry_after_is_believed_within_bounds(header: str | None, seconds: float | None) -> None:
    assert faults.retry_after_s(header) == seconds
