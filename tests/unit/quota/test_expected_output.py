"""How long answers are expected to be."""

from hypothesis import given
from hypothesis import strategies as st

from tenantry.quota.expected_output import (
    LEAST_SAMPLES,
    MOST_SAMPLES,
    Outputs,
    add,
    class_of,
    expected,
    halved,
)


def after(answers: list[int]) -> Outputs:
    outputs = Outputs()
    for tokens in answers:
        outputs = add(outputs, tokens)
    return outputs


def test_until_enough_answers_were_seen_the_most_is_held() -> None:
    assert expected(None, 500) == 500
    assert expected(after([10] * (LEAST_SAMPLES - 1)), 500) == 500
    assert expected(after([10] * LEAST_SAMPLES), 500) == 10


def test_never_more_than_the_request_allows_is_held() -> None:
    assert expected(after([300] * 50), 100) == 100


def test_one_long_answer_of_twenty_does_not_count_and_two_do() -> None:
    assert expected(after([10] * 95 + [900] * 5), 10_000) == 10
    assert expected(after([10] * 94 + [900] * 6), 10_000) == class_of(900)


def test_a_change_shows_within_some_hundred_answers() -> None:
    outputs = after([10] * 5_000 + [1_000] * 100)
    assert expected(outputs, 10_000) == class_of(1_000)
    assert expected(after([1_000] * 5_000 + [10] * 2_000), 10_000) == 10


def test_what_is_not_used_any_more_goes() -> None:
    outputs, days = after([10] * MOST_SAMPLES), 0
    while outputs.samples:
        outputs, days = halved(outputs), days + 1
    assert days < 12


@given(st.lists(st.integers(0, 10**8), min_size=LEAST_SAMPLES, max_size=300))
def test_the_expectation_covers_95_of_100_and_is_at_most_a_fifth_too_high(answers: list[int]) -> None:
    outputs = after(answers)
    held = expected(outputs, 10**9)
    assert sum(tokens <= held for tokens in answers) * 100 >= 95 * len(answers)
    exact = sorted(answers)[-(-95 * len(answers) // 100) - 1]
    assert held <= max(exact * 6 // 5, exact + 1, 1)
    assert len(outputs.classes) <= 105
