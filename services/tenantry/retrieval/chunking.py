"""Cuts a document into passages: whole blocks below one heading, joined to about a thousand characters.

Blocks are never joined over a heading unless what is above it is too short to stand alone. Code and tables are kept whole up
to `WHOLE` characters; past that, code is cut between lines with its fence repeated, tables between rows with their head
repeated, lists between items, prose between sentences. No passage is longer than `WHOLE`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tenantry.retrieval.markdown import Block, Kind

# Part of a document's fingerprint: raise it when the same text would be cut differently, so that re-sending cuts again.
VERSION = 1
SHORT = 200
TARGET = 800
LONGEST = 1200
WHOLE = 2400
HEADING_SEPARATOR = " › "

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])[\"'”’)\]]*\s+|\n")
_SPACE = re.compile(r"\s+")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, in its place. `heading` is the path of headings above it."""

    ordinal: int
    heading: str
    text: str


def cut(blocks: Sequence[Block]) -> list[Passage]:
    """The passages of a document. Every block's text is in them, in order."""
    passages: list[Passage] = []
    for joined in _join(piece for block in blocks for piece in _fitting(block)):
        path = joined[0].path
        for piece in joined[1:]:
            path = _common(path, piece.path)
        heading = HEADING_SEPARATOR.join(title for title in path if title)
        passages.append(Passage(len(passages), heading, "\n\n".join(_texts(joined, path))))
    return passages


def _join(pieces: Iterator[Block]) -> Iterator[list[Block]]:
    """Neighbours joined until a passage is long enough."""
    held: list[Block] = []
    size = 0
    for piece in pieces:
        more = len(piece.text) + 2
        same_section = bool(held) and piece.path == held[-1].path
        if not same_section:
            more += sum(len(title) + 1 for title in piece.path)  # they may have to go into the text
        if held and (size >= (TARGET if same_section else SHORT) or size + more > LONGEST):
            yield held
            held, size = [], 0
        held.append(piece)
        size += more
    if held:
        yield held


def _texts(joined: Sequence[Block], path: tuple[str, ...]) -> Iterator[str]:
    """The pieces' texts, below those of their headings that the passage's own path does not name."""
    before = path
    for piece in joined:
        headings = () if piece.path == before else piece.path[len(_common(before, piece.path)) :]
        yield "\n".join((*(title for title in headings if title), piece.text))
        before = piece.path


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    shared = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        shared += 1
    return one[:shared]


def _fitting(block: Block) -> Iterator[Block]:
    """The block itself, or the pieces that it has to be cut into."""
    longest = WHOLE if block.kind in (Kind.CODE, Kind.TABLE) else LONGEST
    if len(block.text) <= longest:
        yield block
        return
    for text in _pieces(block):
        yield replace(block, text=text, items=())


def _pieces(block: Block) -> Iterator[str]:
    match block.kind:
        case Kind.CODE:
            yield from _cut_code(block.text)
        case Kind.TABLE:
            yield from _cut_table(block.text)
        case Kind.LIST:
            yield from _cut_list(block.text, block.items)
        case Kind.PROSE:
            yield from _cut_prose(block.text, LONGEST)


def _cut_code(text: str) -> Iterator[str]:
    lines = text.split("\n")
    fence = _FENCE.match(lines[0])
    opening, closing = ("", "")
    if fence is not None and len(lines[0]) <= SHORT:
        opening, closing = lines[0] + "\n", "\n" + fence[1]
        lines = lines[1:]
        if lines and lines[-1].strip().startswith(fence[1]):
            lines = lines[:-1]
    room = LONGEST - len(opening) - len(closing)
    for piece in _pack(lines, room):
        if piece.strip():
            yield opening + piece + closing


def _cut_table(text: str) -> Iterator[str]:
    lines = text.split("\n")
    head = "\n".join(lines[:2]) + "\n"
    if len(head) > LONGEST // 2:
        yield from _pack(lines, LONGEST)
        return
    for piece in _pack(lines[2:], LONGEST - len(head)):
        yield head + piece


def _cut_list(text: str, items: Sequence[int]) -> Iterator[str]:
    lines = text.split("\n")
    cuts = [line for line in items if 0 < line < len(lines)]
    parts = ["\n".join(lines[start:end]).rstrip() for start, end in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    yield from _pack([part for part in parts if part], LONGEST)


def _cut_prose(text: str, room: int) -> Iterator[str]:
    """At the last end of a sentence that fits, else at the last space, else where the room ends."""
    while len(text) > room:
        window = text[: room + 1]
        cut = _last(_SENTENCE_END, window, room // 2) or _last(_SPACE, window, room // 2) or room
        yield text[:cut].rstrip()
        text = text[cut:].lstrip()
    if text:
        yield text


def _last(pattern: re.Pattern[str], window: str, least: int) -> int:
    """The end of the last match behind `least`, 0 without."""
    found = 0
    for match in pattern.finditer(window):
        if match.start() >= least and match.start() < len(window):
            found = match.end()
    return min(found, len(window) - 1)


def _pack(parts: Sequence[str], room: int) -> Iterator[str]:
    """Parts joined by line breaks up to `room`; a part that alone is longer is cut as prose."""
    held: list[str] = []
    size = 0
    for part in parts:
        if held and size + 1 + len(part) > room:
            yield "\n".join(held)
            held, size = [], 0
        if len(part) > room:
            yield from _cut_prose(part, room)
            continue
        size += len(part) + (1 if held else 0)
        held.append(part)
    if held:
        yield "\n".join(held)
