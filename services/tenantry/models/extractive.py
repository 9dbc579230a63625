"""Answers a question with sentences of the passages, and says so when none fits: a pure rule, the same each time.

A question's words weigh by how rare they are among the sentences (idf, as in BM25), one that no passage has by the most there is.
A sentence covers the words that stand in it, and to a lesser degree those of its headings and of the sentence before it.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tenantry.models.generation import Passage
from tenantry.models.sentences import sentences_of, stems_of

NOTHING = "The documents I was given do not answer this question."
MOST_SENTENCES = 3
# What share of a question's weight the best sentence with its headings must cover, and the sentence alone.
COVERED = 0.6
COVERED_ALONE = 0.15
# A further sentence is told when it is about as good as the best.
ALSO_TOLD = 0.8
_HEADING_SHARE = 0.8
_BEFORE_SHARE = 0.4
# "At what temperature": the kind of answer, which the answer itself ("4 degrees") need not name.
_KIND = re.compile(r"\b(?:(?:at|by|for|from|in|of|on|to|under|within) what|which) (\w+)")
_KIND_SHARE = 0.5
_FIGURE = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hour|day|week|month|year)s?\b"
)
_ASKS_FIGURE = re.compile(
    r"\b(?:how (?:long|many|much|often|soon|far|old|big|fast)|when|what (?:time|temperature)|which year)\b"
)
# What was read of so many passages is kept: those that are asked about are asked about again. A longer one is not worth it.
_REMEMBERED = 512
_LONG_CHARS = 8_000


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence of the answer and the number of its passage."""

    text: str
    number: int


@dataclass(frozen=True, slots=True)
class Read:
    """A passage's sentences, and for each stem those that have it themselves or in a heading above, a bit a sentence."""

    sentences: tuple[str, ...]
    own: dict[str, int]
    above: dict[str, int]


def answer(question: str, passages: Sequence[Passage]) -> list[Told]:
    """One to three sentences that answer the question, best first; none when nothing fits."""
    asked = list(dict.fromkeys(stems_of(question)))
    texts = [read(passage) for passage in passages]
    if not asked or not texts:
        return []
    weights = _weights(asked, texts)
    for kind in _KIND.findall(question.lower()):
        for stem in stems_of(kind):
            if stem in weights:
                weights[stem] *= _KIND_SHARE
    figures = bool(_ASKS_FIGURE.search(question.lower()))
    scored = [
        one
        for rank, (passage, text) in enumerate(zip(passages, texts, strict=True))
        for one in _scored(passage.number, rank, text, weights, figures)
    ]
    # Sorting keeps the order of equals: that of the passages.
    return _choose(sorted(scored, key=lambda one: -one.score))


def read(passage: Passage) -> Read:
    """What is in a passage. Takes up to a millisecond for each thousand characters, unless it was read lately."""
    how = _read.__wrapped__ if len(passage.text) > _LONG_CHARS else _read
    return how(passage.title, passage.heading, passage.text)


@lru_cache(maxsize=_REMEMBERED)
def _read(title: str, heading: str, text: str) -> Read:
    sentences: list[str] = []
    own: dict[str, int] = {}
    above: dict[str, int] = {}
    for place, (sentence, inner) in enumerate(sentences_of(text)):
        sentences.append(sentence)
        for stem in stems_of(sentence):
            own[stem] = own.get(stem, 0) | 1 << place
        for stem in stems_of(inner) if inner else ():
            above[stem] = above.get(stem, 0) | 1 << place
    everywhere = (1 << len(sentences)) - 1
    for stem in stems_of(f"{title} {heading}"):
        above[stem] = everywhere
    return Read(tuple(sentences), own, above)


@dataclass(frozen=True, slots=True)
class _Scored:
    score: float
    told: Told
    stems: frozenset[str]


def _weights(asked: Sequence[str], texts: Sequence[Read]) -> dict[str, float]:
    total = sum(len(text.sentences) for text in texts)
    weights: dict[str, float] = {}
    for stem in asked:
        count = sum((text.own.get(stem, 0) | text.above.get(stem, 0)).bit_count() for text in texts)
        weights[stem] = math.log(1 + (total - count + 0.5) / (count + 0.5)) + 0.1
    return weights


def _scored(number: int, rank: int, text: Read, weights: dict[str, float], figures: bool) -> Iterator[_Scored]:
    """The sentences that cover enough of the question, with their scores."""
    whole = sum(weights.values())
    found = [(stem, weight, text.own.get(stem, 0), text.above.get(stem, 0)) for stem, weight in weights.items()]
    some = 0
    for _, _, own, _ in found:
        some |= own
    while some:
        bit = some & -some
        some ^= bit
        alone = covered = 0.0
        for _, weight, own, above in found:
            if own & bit:
                alone += weight
                covered += weight
            elif above & bit:
                covered += weight * _HEADING_SHARE
            elif own << 1 & bit:
                covered += weight * _BEFORE_SHARE
        if alone >= COVERED_ALONE * whole and covered >= COVERED * whole:
            place = bit.bit_length() - 1
            sentence = text.sentences[place]
            stems = frozenset(stem for stem, _, own, _ in found if own & bit)
            yield _Scored(_score(covered / whole, rank, place, sentence, figures), Told(sentence, number), stems)


def _score(covered: float, rank: int, place: int, sentence: str, figures: bool) -> float:
    if figures and _FIGURE.search(sentence):
        covered += 0.15
    # Retrieval's best passages and a passage's first sentences answer more often; a very long one says much of other things.
    return covered - 0.01 * rank - 0.005 * min(place, 10) - 0.0002 * max(0, len(sentence) - 200)


def _choose(scored: Sequence[_Scored]) -> list[Told]:
    chosen: list[Told] = []
    known: set[str] = set()
    for one in scored:
        if len(chosen) == MOST_SENTENCES or one.score < scored[0].score * ALSO_TOLD:
            break
        if chosen and (one.stems <= known or any(one.told.text == other.text for other in chosen)):
            continue
        chosen.append(one.told)
        known |= one.stems
    return chosen
