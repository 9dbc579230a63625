"""Finds the blocks of a Markdown or plain text and the headings above them; cutting them to size is `chunking`'s part."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

MAX_HEADING_CHARS = 120


class Kind(StrEnum):
    """What a block is, since each kind is cut differently when it is too long."""

    PROSE = "prose"
    CODE = "code"
    TABLE = "table"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Block:
    """Source lines that belong together, below a path of headings. `items` are where a list may be cut, by line."""

    kind: Kind
    path: tuple[str, ...]
    text: str
    items: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A text's first heading, "" without, and its blocks in order."""

    title: str
    blocks: list[Block]


_KINDS = {
    "fence": Kind.CODE,
    "code_block": Kind.CODE,
    "table_open": Kind.TABLE,
    "bullet_list_open": Kind.LIST,
    "ordered_list_open": Kind.LIST,
}
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table")
    # Only where blocks begin and end is wanted; what is inside a line is text to us.
    parser.core.ruler.disable(["inline"])
    return parser


def markdown_blocks(text: str) -> Parsed:
    """The top-level blocks in order. A heading with nothing below it is a block of its own, so that it can be found."""
    lines = text.split("\n")
    tokens = _parser().parse(text)
    blocks: list[Block] = []
    path: list[tuple[int, str]] = []
    bare: str | None = None
    first = ""
    for place, token in enumerate(tokens):
        if token.level or token.nesting < 0 or token.map is None:
            continue
        here = tuple(title for _, title in path)
        start, end = token.map
        if token.type == "heading_open":
            depth = int(token.tag[1:])
            if bare is not None and path and depth <= path[-1][0]:
                blocks.append(Block(Kind.PROSE, here[:-1], bare))
            while path and path[-1][0] >= depth:
                path.pop()
            title = _plain(tokens[place + 1].content)
            path.append((depth, title))
            first = first or title
            bare = title or None
            continue
        source = "\n".join(lines[start:end]).strip("\n").rstrip()
        if token.type == "hr" or not source:
            continue
        bare = None
        kind = _KINDS.get(token.type, Kind.PROSE)
        items = _item_lines(tokens, place, start) if kind is Kind.LIST else ()
        blocks.append(Block(kind, here, source, items))
    if bare is not None:
        blocks.append(Block(Kind.PROSE, tuple(title for _, title in path[:-1]), bare))
    return Parsed(first, blocks)


def text_blocks(text: str) -> Parsed:
    """The paragraphs of a plain text."""
    parts = (part.strip("\n").rstrip() for part in _BLANK_LINES.split(text) if part.strip())
    return Parsed("", [Block(Kind.PROSE, (), part) for part in parts])


def _plain(heading: str) -> str:
    """A heading as it is read: without emphasis and code marks, in one line, of bounded length."""
    words = " ".join(re.sub(r"[*`]+", "", heading).split())
    return words if len(words) <= MAX_HEADING_CHARS else words[: MAX_HEADING_CHARS - 1].rstrip() + "…"


def _item_lines(tokens: list[Token], place: int, start: int) -> tuple[int, ...]:
    """The first lines of a list's own items, relative to the list."""
    lines: list[int] = []
    for token in tokens[place + 1 :]:
        if token.level == 0:
            break
        if token.level == 1 and token.type == "list_item_open" and token.map is not None:
            lines.append(token.map[0] - start)
    return tuple(lines)
