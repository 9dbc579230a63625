"""Cuts passages into sentences and sentences into stems: what the extractive provider compares a question with."""

import re
from collections.abc import Iterator
from functools import lru_cache

_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[*_A-Z0-9])")
# A full stop behind these ends no sentence.
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|approx|Dr|Mr|Mrs|Ms|No|St|fig)|\b[A-Z])\.$")
_ITEM = re.compile(r"(?:[-*+]|\d{1,3}[.)])\s+")
_RULE = re.compile(r"\s*\|?[\s:|-]*-{2,}[\s:|-]*\|?\s*")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+")
_EMPHASIS = re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")
_WORD = re.compile(r"[^\W_]+(?:[.'’][^\W_]+)*")
LONGEST_SENTENCE = 600
_LONGEST_HEADING = 70

# Words that say nothing of what a question is about. "How long", "how many" and the like ask for a kind of answer.
STOP_WORDS = frozenset(
    """
    a about all an and any anyone are as at be been before being but by can could did do does doing each every
    far for from get gets give given had happen happens has have having her his how i if in into is it its just
    know long many may me more most much must my need needs no not of often old on one or our out over own
    please should so some someone soon such take takes tell than that the their them then there there's these
    they this those to under up us very was we were what what's when where whether which who whom whose why will
    with within would you your
    """.split()
)


def sentences_of(text: str) -> Iterator[tuple[str, str]]:
    """The sentences of a Markdown or plain text in order, each with the heading line above it in the text, "" without.

    A list item or a table row is one or several of its own.
    """
    heading = ""
    header: list[str] = []
    prose: list[str] = []
    lines = [line.strip() for line in text.split("\n")]
    for place, line in enumerate(lines):
        begins = _ITEM.match(line)
        if line and not begins and not line.startswith("|"):
            if prose or not _is_heading(line, lines[place + 1 : place + 2]):
                prose.append(line)
            else:
                heading = _HEADING.sub("", line)
            continue
        for sentence in _split(" ".join(prose)):
            yield sentence, heading
        prose = [line[begins.end() :]] if begins else []
        if not line.startswith("|"):
            header = []
        elif not _RULE.fullmatch(line):
            cells = [_plain(cell.strip()) for cell in line.strip("|").split("|")]
            if header:
                yield _row(header, cells), heading
            else:
                header = cells
    for sentence in _split(" ".join(prose)):
        yield sentence, heading


def stems_of(text: str) -> list[str]:
    """The telling words of a text, lightly stemmed, in order."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


def _is_heading(line: str, following: list[str]) -> bool:
    # Passages carry inner headings as bare lines: short, without an end, and above a line that begins anew.
    if _HEADING.match(line):
        return True
    follows = following[0] if following else ""
    begins_anew = follows[:1].isupper() or follows.startswith("|") or _ITEM.match(follows) is not None
    return len(line) <= _LONGEST_HEADING and line[-1] not in ".!?:;," and begins_anew


def _split(text: str) -> Iterator[str]:
    text = _plain(text)
    start = 0
    for match in _END.finditer(text):
        if not _ABBREVIATION.search(text, max(0, match.start() - 8), match.start()):
            yield text[start : match.end()].strip()[:LONGEST_SENTENCE]
            start = match.end()
    if text[start:].strip():
        yield text[start:].strip()[:LONGEST_SENTENCE]


def _row(header: list[str], cells: list[str]) -> str:
    told = [f"{name}: {cell}" if name else cell for name, cell in zip(header, cells, strict=False) if cell]
    return ("; ".join(told) + ".")[:LONGEST_SENTENCE]


def _plain(text: str) -> str:
    return _EMPHASIS.sub("", text)


@lru_cache(maxsize=16_384)
def _stem(word: str) -> str:
    # Light: enough that greased, greases and greasing meet. The word is a tenant's, but what is kept of it tells nobody anything.
    word = word.removesuffix("'s").removesuffix("’s")
    if len(word) <= 3 or not word.isalpha():
        return word
    for suffix, put in (
        ("ies", "y"),
        ("sses", "ss"),
        ("ing", ""),
        ("edly", ""),
        ("ed", ""),
        ("es", ""),
        ("ly", ""),
        ("s", ""),
    ):
        if word.endswith(suffix) and not word.endswith("ss") and len(word) - len(suffix) >= 3:
            word = word[: len(word) - len(suffix)] + put
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word
