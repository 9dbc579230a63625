"""Costs in whole millionths of a dollar, and estimates of tokens."""

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tenantry.models.model import Model, Provider
from tenantry.models.prices import cost_micros, estimated_tokens


def priced(read: int, written: int, cached: int = 0) -> Model:
    return Model(
        "m", Provider.OPENAI, input_price_micros=read, output_price_micros=written, cached_input_price_micros=cached
    )


def test_a_million_tokens_cost_their_price() -> None:
    assert cost_micros(priced(3_000_000, 15_000_000), 1_000_000, 1_000_000) == 18_000_000


def test_what_the_provider_read_from_its_cache_costs_its_own_price_or_any_others() -> None:
    assert cost_micros(priced(3_000_000, 0, 300_000), 1_000_000, 0, 400_000) == 1_800_000 + 120_000
    assert cost_micros(priced(3_000_000, 0), 1_000_000, 0, 400_000) == 3_000_000
    assert cost_micros(priced(3_000_000, 0, 300_000), 10, 0, 10**9) == 3


def test_the_smallest_part_is_rounded_up_once_over_all() -> None:
    assert cost_micros(priced(1, 0), 1, 0) == 1
    assert cost_micros(priced(1, 1, 1), 2, 1, 1) == 1
    assert cost_micros(priced(5, 5), 0, 0) == 0


@given(*[st.integers(0, 10**7)] * 2, *[st.integers(0, 10**12)] * 2)
def test_the_cost_is_exact_but_for_the_rounding_up(read: int, written: int, price_in: int, price_out: int) -> None:
    exact = Fraction(read * price_in + written * price_out, 10**6)
    assert cost_micros(priced(price_in, price_out), read, written) == math.ceil(exact)


def test_a_token_is_taken_for_four_bytes_of_each_text() -> None:
    assert estimated_tokens("", "abcd", "abcde", "é") == 0 + 1 + 2 + 1
