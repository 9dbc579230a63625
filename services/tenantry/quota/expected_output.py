"""How long a tenant's answers of one model are: the rule of the scripts, and its executable specification.

A histogram of the settled outputs whose classes grow by a fifth each. When it holds MOST_SAMPLES, and once a day, all counts
are halved, so that a change in what a tenant asks for shows after some hundred answers, and what is not used any more goes. A
hold takes the smaller of what the request allows and the 95th percentile; who needs more is charged for more as its answer
grows (`holds.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

LEAST_SAMPLES = 20
MOST_SAMPLES = 400
_PERCENT = 95


@dataclass(frozen=True, slots=True)
class Outputs:
    """How many settled outputs fell into each class, by its largest number of tokens."""

    samples: int = 0
    classes: Mapping[int, int] = field(default_factory=dict[int, int])


def class_of(tokens: int) -> int:
    """The largest number of tokens of its class: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 19, …"""
    largest = 1
    while largest < tokens:
        largest += max(1, largest // 5)
    return largest


def add(outputs: Outputs, tokens: int) -> Outputs:
    """The histogram with one more answer."""
    if outputs.samples >= MOST_SAMPLES:
        outputs = halved(outputs)
    largest = class_of(tokens)
    counts = {**outputs.classes, largest: outputs.classes.get(largest, 0) + 1}
    return Outputs(outputs.samples + 1, dict(sorted(counts.items())))


def halved(outputs: Outputs) -> Outputs:
    """The histogram with half the weight."""
    counts = {largest: count // 2 for largest, count in outputs.classes.items() if count // 2 > 0}
    return Outputs(sum(counts.values()), counts)


def expected(outputs: Outputs | None, most: int) -> int:
    """The output to hold: `most`, or less where 95 of 100 answers needed no more."""
    if outputs is None or outputs.samples < LEAST_SAMPLES:
        return most
    seen = 0
    for largest, count in outputs.classes.items():
        seen += count
        if seen * 100 >= outputs.samples * _PERCENT:
            return min(most, largest)
    return most
