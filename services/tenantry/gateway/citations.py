"""Which passages an answer names as its sources: `[1]`, `[2, 3]`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MARK = re.compile(r"\[(\d{1,2}(?:\s*,\s*\d{1,2})*)\]")


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that was found in the tenant's own documents."""

    collection: str
    document: str
    title: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that the answer names, by its number from 1."""

    number: int
    passage: Passage


def cited(text: str, passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """The passages that the text names, in the order in which it first names them; numbers of none are passed over."""
    numbers = dict.fromkeys(int(number) for mark in _MARK.findall(text) for number in mark.split(","))
    return tuple(Citation(number, passages[number - 1]) for number in numbers if 1 <= number <= len(passages))
