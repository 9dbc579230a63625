"""The gateway's small rules: costs and citations."""

import pytest

from tenantry.gateway import estimate
from tenantry.gateway.citations import Citation, Passage, cited

PASSAGES = [Passage("default", f"d{n}", f"D{n}", "", f"text {n}") for n in (1, 2, 3)]


def test_citations_come_in_the_order_in_which_they_are_first_named() -> None:
    named = cited("First [2], then [1, 3] and again [2].", PASSAGES)
    assert named == (Citation(2, PASSAGES[1]), Citation(1, PASSAGES[0]), Citation(3, PASSAGES[2]))


@pytest.mark.parametrize("text", ["[0]", "[4]", "[99]", "[-1]", "[1.5]", "[a]", "[1", "(1)", "[1234567890123]", ""])
def test_a_mark_that_names_no_passage_is_no_citation(text: str) -> None:
    assert cited(text, PASSAGES) == ()


def test_nothing_costs_nothing_and_a_part_of_a_micro_dollar_is_one() -> None:
    assert estimate.cost_micros(0, 0, 10**6, 10**6) == 0
    assert estimate.cost_micros(1, 0, 1, 0) == 1
    assert estimate.cost_micros(10**6, 10**6, 150_000, 600_000) == 750_000
