"""Answers a question with sentences of the passages, and says so when none fits: a pure rule, the same each time.

A question's words weigh by how rare they are among the sentences (idf, as in BM25), one that no passage has by the most there is.
A sentence covers the words that stand in it, and to a lesser degree those of its headings and of the sentence before it.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence of the answer and the number of its passage."""

    text: str
    number: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    number: int
    place: int
    text: str
    own: frozenset[str]
    heading: frozenset[str]
    before: frozenset[str]


def answer(question: str, passages: Sequence[Passage]) -> list[Told]:
    """One to three sentences that answer the question, best first; none when nothing fits."""
    asked = list(dict.fromkeys(stems_of(question)))
    candidates = [one for rank, passage in enumerate(passages) for one in _candidates(rank, passage)]
    if not asked or not candidates:
        return []
    weights = _weights(asked, candidates)
    for kind in _KIND.findall(question.lower()):
        for stem in stems_of(kind):
            if stem in weights:
                weights[stem] *= _KIND_SHARE
    figures = bool(_ASKS_FIGURE.search(question.lower()))
    scored = sorted(
        ((_score(one, weights, figures), one) for one in candidates), key=lambda pair: (-pair[0], pair[1].place)
    )
    return _choose([(score, one) for score, one in scored if _fits(one, weights)], weights)


def _candidates(rank: int, passage: Passage) -> list[_Candidate]:
    found: list[_Candidate] = []
    heading = frozenset(stems_of(f"{passage.title} {passage.heading}"))
    before: frozenset[str] = frozenset()
    for place, (text, inner) in enumerate(sentences_of(passage.text)):
        own = frozenset(stems_of(text))
        above = heading.union(stems_of(inner)) if inner else heading
        if own:
            found.append(_Candidate(passage.number, rank * 1000 + place, text, own, above, before))
        before = own
    return found


def _weights(asked: Sequence[str], candidates: Sequence[_Candidate]) -> dict[str, float]:
    counts = Counter(stem for one in candidates for stem in one.own | one.heading)
    return {stem: math.log(1 + (len(candidates) - counts[stem] + 0.5) / (counts[stem] + 0.5)) + 0.1 for stem in asked}


def _covered(one: _Candidate, weights: dict[str, float]) -> float:
    covered = 0.0
    for stem, weight in weights.items():
        if stem in one.own:
            covered += weight
        elif stem in one.heading:
            covered += weight * _HEADING_SHARE
        elif stem in one.before:
            covered += weight * _BEFORE_SHARE
    return covered / sum(weights.values())


def _fits(one: _Candidate, weights: dict[str, float]) -> bool:
    alone = sum(weight for stem, weight in weights.items() if stem in one.own) / sum(weights.values())
    return alone >= COVERED_ALONE and _covered(one, weights) >= COVERED


def _score(one: _Candidate, weights: dict[str, float], figures: bool) -> float:
    score = _covered(one, weights)
    if figures and _FIGURE.search(one.text):
        score += 0.15
    # Retrieval's best passages and a passage's first sentences answer more often; a very long sentence says much of other things.
    return score - 0.01 * (one.place // 1000) - 0.005 * min(one.place % 1000, 10) - 0.0002 * max(0, len(one.text) - 200)


def _choose(scored: Sequence[tuple[float, _Candidate]], weights: dict[str, float]) -> list[Told]:
    told: list[Told] = []
    known: set[str] = set()
    for score, one in scored:
        if len(told) == MOST_SENTENCES or score < scored[0][0] * ALSO_TOLD:
            break
        if told and not (one.own & weights.keys()) - known:
            continue
        if any(one.text == other.text for other in told):
            continue
        told.append(Told(one.text, one.number))
        known |= one.own & weights.keys()
    return told
