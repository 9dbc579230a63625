"""How documents are cut."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenantry.retrieval.chunking import LONGEST, WHOLE, Passage, cut
from tenantry.retrieval.markdown import markdown_blocks, text_blocks

SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank. "


def passages(markdown: str) -> list[Passage]:
    return cut(markdown_blocks(markdown).blocks)


def test_a_passage_knows_the_path_of_headings_above_it() -> None:
    body = SENTENCE * 5
    found = passages(
        f"# Handbook\n\n{body}\n\n## Leave\n\n{body}\n\n### Sick *leave*\n\n{body}\n\n## Travel\n\n{body}\n"
    )
    assert [passage.heading for passage in found] == [
        "Handbook",
        "Handbook › Leave",
        "Handbook › Leave › Sick leave",
        "Handbook › Travel",
    ]
    assert [passage.ordinal for passage in found] == [0, 1, 2, 3]


def test_setext_headings_count_and_hashes_in_code_do_not() -> None:
    found = passages(f"Title\n=====\n\n```sh\n# no heading\n```\n\n{SENTENCE * 4}\n")
    assert [passage.heading for passage in found] == ["Title"]
    assert markdown_blocks("text\n\nTitle\n=====\n\n# Other").title == "Title"


def test_short_sections_are_joined_and_keep_their_headings_in_the_text() -> None:
    [passage] = passages("# Contact\n\n## Phone\n\n555 0100\n\n## Fax\n\nnone\n")
    assert passage.heading == "Contact"
    assert passage.text == "Phone\n555 0100\n\nFax\nnone"


def test_paragraphs_of_a_section_are_joined_to_about_a_thousand_characters() -> None:
    found = passages("# One\n\n" + "\n\n".join([SENTENCE * 4] * 12))
    assert all(600 <= len(passage.text) <= LONGEST for passage in found[:-1])
    assert {passage.heading for passage in found} == {"One"}


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    found = passages(SENTENCE * 60)
    assert all(passage.text.endswith("bank.") and len(passage.text) <= LONGEST for passage in found)
    assert " ".join(passage.text for passage in found) == (SENTENCE * 60).strip()


def test_code_and_tables_stay_whole_where_that_is_possible() -> None:
    code = "```python\n" + "x = 1\n" * 300 + "```"
    table = "| a | b |\n|---|---|\n" + "| one | two |\n" * 120
    assert LONGEST < len(code) <= WHOLE and LONGEST < len(table) <= WHOLE
    found = passages(f"# Code\n\n{code}\n\n# Table\n\n{table}")
    assert [passage.text for passage in found] == [code, table.strip()]


def test_longer_code_is_cut_between_lines_with_its_fence_again() -> None:
    lines = [f"line_{number} = {number}" for number in range(500)]
    found = passages("~~~python\n" + "\n".join(lines) + "\n~~~\n")
    assert len(found) > 2
    assert all(p.text.startswith("~~~python\n") and p.text.endswith("\n~~~") for p in found)
    inside = [line for passage in found for line in passage.text.split("\n")[1:-1]]
    assert inside == lines


def test_a_longer_table_is_cut_between_rows_with_its_head_again() -> None:
    rows = [f"| {number} | value {number} |" for number in range(300)]
    found = passages("| id | value |\n|---|---|\n" + "\n".join(rows))
    assert all(passage.text.startswith("| id | value |\n|---|---|\n| ") for passage in found)
    assert [row for passage in found for row in passage.text.split("\n")[2:]] == rows


def test_a_long_list_is_cut_between_its_items() -> None:
    items = [f"- item {number}\n  goes on here and is a little longer" for number in range(100)]
    found = passages("\n".join(items))
    assert all(passage.text.startswith("- item ") for passage in found)
    assert "\n".join(passage.text for passage in found) == "\n".join(items)


def test_a_heading_with_nothing_below_is_still_found() -> None:
    assert [passage.text for passage in passages("# Only a heading")] == ["Only a heading"]
    assert "Empty" in " ".join(passage.text for passage in passages("# A\n\n## Empty\n\n## Full\n\ntext"))


def test_plain_text_is_cut_at_blank_lines_and_knows_no_markdown() -> None:
    [passage] = cut(text_blocks("# no heading\nstill\n\n\n  next paragraph\n").blocks)
    assert (passage.heading, passage.text) == ("", "# no heading\nstill\n\nnext paragraph")


@given(
    st.lists(
        st.sampled_from(
            [
                "# h",
                "## h2",
                "para words here",
                "- item",
                "```",
                "| a | b |",
                "|---|---|",
                "",
                "    code",
                "> quote",
                "x" * 1300,
            ]
        ),
        max_size=60,
    )
)
@example(["```", "x" * 1300, "```"])
@example(["| a | b |", "|---|---|", "x" * 1300])
def test_every_word_is_in_a_passage_and_no_passage_is_too_long(lines: list[str]) -> None:
    text = "\n".join(lines)
    found = passages(text)
    assert all(0 < len(passage.text) <= WHOLE for passage in found)
    assert [passage.ordinal for passage in found] == list(range(len(found)))
    kept = " ".join(f"{passage.heading} {passage.text}" for passage in found)
    for word in ("para", "item", "quote", "h2"):
        assert not re.search(rf"\b{word}\b", text) or word in kept


@given(st.text(max_size=3000))
def test_any_text_is_cut_within_bounds(text: str) -> None:
    for found in (cut(markdown_blocks(text).blocks), cut(text_blocks(text).blocks)):
        assert all(0 < len(passage.text) <= WHOLE for passage in found)


@pytest.mark.parametrize(
    "text",
    [
        "# a\n" * 20_000,
        "- a\n" * 20_000,
        ("> " * 30 + "a\n") * 2_000,
        "".join("  " * depth + "- a\n" for depth in range(500)),
        "`" * 300_000,
        "[" * 100_000,
        "a" * 1_000_000,
        " ".join(["a"] * 500_000),
        "| a |\n|---|\n" + "| b |\n" * 30_000,
    ],
    ids=["headings", "items", "quotes", "nested", "ticks", "brackets", "one word", "words", "rows"],
)
def test_no_text_takes_long_or_makes_too_many_passages(text: str) -> None:
    started = time.process_time()
    found = passages(text)
    assert time.process_time() - started < 10
    assert len(found) <= len(text) / 100 + 2
    assert all(len(passage.text) <= WHOLE for passage in found)
