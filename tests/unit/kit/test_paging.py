"""Pages of lists and their tokens."""

import base64
import json

import pytest

from tenantry.kit import paging
from tenantry.kit.errors import InvalidArgument


def test_a_token_comes_back_as_the_position_it_was_made_of() -> None:
    assert paging.position_of(paging.token_of("refunds.md", 7), [str, int]) == ["refunds.md", 7]
    assert paging.position_of("", [str]) is None


def forged(position: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    ["!", "a", "é", *map(forged, (["a", 1], [1], [True], "a", {"a": 1}, ["a\0"], ["\ud800"], ["x" * 3000]))],
)
def test_a_token_that_the_list_did_not_give_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        paging.position_of(token, [str])
    assert refused.value.violations[0][0] == "page.token"


def test_a_page_has_100_entries_unless_asked_and_at_most_1000() -> None:
    assert [paging.size_of(asked) for asked in (0, 1, 1000)] == [100, 1, 1000]
    for asked in (-1, 1001):
        with pytest.raises(InvalidArgument):
            paging.size_of(asked)
