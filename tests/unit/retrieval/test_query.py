"""Which words of a question are looked for."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tenantry.retrieval.query import MAX_TERM_CHARS, MAX_TERMS, terms_of


def test_stop_words_and_punctuation_are_left_out() -> None:
    assert terms_of("How many days of Holiday do I have?") == ("many", "days", "holiday")


def test_a_question_of_stop_words_alone_keeps_them() -> None:
    assert terms_of("To be, or not to be") == ("to", "be", "or", "not")


def test_words_of_other_scripts_keep_their_marks() -> None:
    assert terms_of("हिन्दी भाषा") == ("हिन्दी", "भाषा")
    assert terms_of("Straße naïve") == ("straße", "naïve")


def test_operators_are_only_words() -> None:
    assert terms_of('"a" NEAR(x, y) OR title:z -w* ^v') == ("near", "x", "y", "title", "z", "w", "v")


def test_terms_are_bounded() -> None:
    terms = terms_of(" ".join(f"word{number}" for number in range(1000)))
    assert len(terms) == MAX_TERMS
    assert terms_of("x" * 8000) == ("x" * MAX_TERM_CHARS,)
    assert terms_of("!? — …") == ()


@given(st.text())
def test_a_term_is_of_letters_digits_and_marks_only(text: str) -> None:
    for term in terms_of(text):
        assert term and all(unicodedata.category(c)[0] in "LNM" for c in term)
