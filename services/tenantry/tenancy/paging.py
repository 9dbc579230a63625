"""One page of a list of records that are ordered by their ids."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tenantry.kit import paging
from tenantry.kit.errors import InvalidArgument

R = TypeVar("R")
# All that an id may hold. What a client made up must not reach a statement: PostgreSQL, for one, can't take a NUL.
_POSITION = re.compile(r"[a-z0-9_-]{1,63}")


@dataclass(frozen=True, slots=True)
class Page:
    """Up to `size` entries after the one whose id is `after` ("" for the start)."""

    size: int = paging.USUAL
    after: str = ""


def page_of(size: int, token: str) -> Page:
    """The page that a request asks for."""
    position = paging.position_of(token, (str,))
    after = "" if position is None else str(position[0])
    if after and _POSITION.fullmatch(after) is None:
        raise InvalidArgument("page.token", "is not a token that this list gave")
    return Page(paging.size_of(size), after)


def cut(found: Sequence[R], page: Page, id_of: Callable[[R], str]) -> tuple[tuple[R, ...], str]:
    """The page itself, and the token of the next one ("" on the last), of what a store found: one more if there are
    more."""
    kept = tuple(found[: page.size])
    return kept, paging.token_of(id_of(kept[-1])) if len(found) > page.size else ""
