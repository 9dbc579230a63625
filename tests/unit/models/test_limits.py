"""How long an attempt may take."""

from hypothesis import given
from hypothesis import strategies as st

from tenantry.models.limits import CONNECT_S, FIRST_TOKEN_S, LONGEST_S, MARGIN_S, limits_of


def test_while_fallbacks_remain_an_attempt_has_its_share_until_the_first_token() -> None:
    limits = limits_of(20 + MARGIN_S, 2, stream=True)
    assert (limits.first_token_s, limits.total_s, limits.connect_s) == (10, 20, CONNECT_S)
    assert limits_of(20 + MARGIN_S, 1, stream=True).first_token_s == 20


def test_an_answer_in_one_piece_may_take_longer_than_a_first_token() -> None:
    assert limits_of(None, 1, stream=True).first_token_s == FIRST_TOKEN_S
    assert limits_of(None, 1, stream=False).first_token_s == LONGEST_S - MARGIN_S


@given(st.none() | st.floats(-10, 1000), st.integers(0, 5), st.booleans())
def test_nothing_is_below_zero_or_above_what_is_left(left: float | None, attempts: int, stream: bool) -> None:
    limits = limits_of(left, attempts, stream=stream)
    assert 0 <= limits.connect_s <= limits.first_token_s <= limits.total_s
    assert limits.first_token_s * attempts <= limits.total_s + 1e-6, "later attempts have their share"
    assert left is None or limits.total_s <= max(0.0, left)
