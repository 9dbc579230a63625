"""Random operations of five tenants through the whole mesh: nothing of one may be found at another, nor any content in what
is written about the work."""

import os

import pytest

from tests.harness.leaks import run

OPERATIONS = 20_000
SEED = int(os.environ.get("TENANTRY_TEST_SEED", "4"))


@pytest.mark.timeout(600)
def test_random_operations_of_five_tenants_leave_no_foreign_marks() -> None:
    result = run(OPERATIONS, SEED)
    assert not result.leaks, f"seed {SEED}: {result.leaks_found} leaks, such as\n" + "\n".join(result.leaks)
    assert result.operations == OPERATIONS
    # A mesh that finds nothing leaks nothing: most answers must have carried the tenant's own mark.
    assert result.answers_with_own_mark > OPERATIONS // 2
    for place in ("span", "log line", "metric", "cache key", "cache value", "books value", "document file", "error"):
        assert result.looked_at[place] > 0, place
