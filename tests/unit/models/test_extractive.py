"""The built-in provider: sentences of the passages, cited, or one that says so."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.models.extractive import MOST_SENTENCES, NOTHING, answer
from tenantry.models.generation import Ask, Counts, Ended, Finish, Passage, Role, Target, Turn
from tenantry.models.model import Provider
from tenantry.models.provider_extractive import ExtractiveProvider
from tenantry.models.sentences import sentences_of

HANDBOOK = [
    Passage(
        1,
        "Employee handbook",
        "Leave",
        "Every employee has 28 days of paid leave a year. Parental leave is 16 weeks at full pay. "
        "Unused days can be carried over until March.\n\n- Sick leave: report it before 9 o'clock\n- Study leave: 5 days",
    ),
    Passage(2, "Security", "Passwords", "Passwords have at least 14 characters. Report phishing to the security desk."),
    Passage(3, "Sales", "Returns", "Customers may return goods within **30 days**. A refund takes five working days."),
]
TARGET = Target(Provider.EXTRACTIVE, "extractive")


@pytest.mark.parametrize(
    ("question", "text", "number"),
    [
        ("How many days of paid leave does an employee have?", "28 days of paid leave", 1),
        ("How long is parental leave?", "16 weeks at full pay", 1),
        ("How long must a password be?", "14 characters", 2),
        ("How long does a refund take?", "five working days", 3),
        ("Within how many days can customers return goods?", "within 30 days", 3),
    ],
)
def test_the_sentence_that_answers_comes_first_with_its_number(question: str, text: str, number: int) -> None:
    told = answer(question, HANDBOOK)
    assert text in told[0].text and told[0].number == number


@pytest.mark.parametrize("question", ["Who is the king of France?", "What is the boiling point of mercury?", "?", ""])
def test_nothing_is_told_when_nothing_fits(question: str) -> None:
    assert answer(question, HANDBOOK) == []
    assert answer("How long is parental leave?", []) == []


def ask(max_output_tokens: int = 500, question: str = "How long is parental leave?") -> Ask:
    return Ask([Turn(Role.USER, question)], max_output_tokens, HANDBOOK, question)


async def pieces(ask: Ask, *, stream: bool) -> tuple[list[str], Ended]:
    got = [one async for one in ExtractiveProvider().generate(TARGET, ask, stream=stream, connect_s=1)]
    assert isinstance(got[-1], Ended)
    return [one for one in got if isinstance(one, str)], got[-1]


async def test_a_stream_says_the_same_as_one_piece() -> None:
    deltas, ended = await pieces(ask(), stream=True)
    (whole,), same = await pieces(ask(), stream=False)
    assert "".join(deltas) == whole and ended == same
    assert ended.finish is Finish.STOP and ended.revision == "extractive-1"
    assert isinstance(ended.counts, Counts) and ended.counts.output_tokens and ended.counts.input_tokens


@pytest.mark.parametrize("most", [1, 2, 5, 10, 20])
async def test_no_more_is_written_than_the_ceiling_allows(most: int) -> None:
    (text,), ended = await pieces(ask(most), stream=False)
    assert len(text.encode()) <= 4 * most
    assert (ended.counts.output_tokens or 0) <= most
    assert text


async def test_what_the_passages_do_not_answer_is_one_sentence() -> None:
    (text,), ended = await pieces(ask(question="Who is the king of France?"), stream=False)
    assert text == NOTHING and ended.finish is Finish.STOP


@given(st.text(max_size=200), st.lists(st.text(max_size=400), max_size=5))
def test_any_text_is_survived_and_every_sentence_is_of_its_passage(question: str, texts: list[str]) -> None:
    passages = [Passage(number, "", "", text) for number, text in enumerate(texts, 1)]
    told = answer(question, passages)
    assert told == answer(question, passages), "the same again"
    assert len(told) <= MOST_SENTENCES
    for one in told:
        assert one.text in [sentence for sentence, _ in sentences_of(texts[one.number - 1])]


def test_eight_usual_passages_take_a_few_milliseconds_at_most() -> None:
    filler = "The warehouse in Rotterdam ships pallets to nine countries every week, except on public holidays. " * 10
    passages = [*HANDBOOK, *(Passage(number, "Logistics", "Shipping", filler) for number in range(4, 9))]
    answer("How long is parental leave?", passages)
    took: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        answer("How long is parental leave?", passages)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.02, "usually 2 ms; the rest is room for a busy machine"


@pytest.mark.parametrize(
    "text",
    ["*" * 50_000, "_a" * 25_000, "| " * 25_000, "a." * 25_000, "[" * 50_000, ">" * 50_000, "#" * 50_000, "\n" * 50_000,
     "- " * 25_000, "e.g. " * 10_000, "`" * 50_000, " ." * 25_000, "1" * 50_000, "a'" * 25_000, "---|" * 12_000, ". A" * 16_000],
    ids=lambda text: text[:4],
)  # fmt: skip
def test_a_text_made_to_be_slow_is_read_in_time(text: str) -> None:
    started = time.perf_counter()
    answer("How long is a?", [Passage(1, text[:200], text[:200], text)])
    assert time.perf_counter() - started < 2.0
