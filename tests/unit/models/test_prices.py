"""Costs in whole millionths of a dollar, and estimates of tokens."""

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tenantry.models.prices import cost_micros, estimated_tokens


def test_a_million_tokens_cost_their_price() -> None:
    assert cost_micros(1_000_000, 1_000_000, 3_000_000, 15_000_000) == 18_000_000


def test_the_smallest_part_is_rounded_up_once_over_both() -> None:
    assert cost_micros(1, 0, 1, 0) == 1
    assert cost_micros(1, 1, 1, 1) == 1
    assert cost_micros(0, 0, 5, 5) == 0


@given(*[st.integers(0, 10**7)] * 2, *[st.integers(0, 10**12)] * 2)
def test_the_cost_is_exact_but_for_the_rounding_up(read: int, written: int, price_in: int, price_out: int) -> None:
    exact = Fraction(read * price_in + written * price_out, 10**6)
    assert cost_micros(read, written, price_in, price_out) == math.ceil(exact)


def test_a_token_is_taken_for_four_bytes_of_each_text() -> None:
    assert estimated_tokens("", "abcd", "abcde", "é") == 0 + 1 + 2 + 1
