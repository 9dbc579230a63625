"""Pages of lists: a token is where the last page ended, opaque to clients and checked when it comes back."""

import base64
import json
from collections.abc import Sequence
from typing import Any, cast

from tenantry.kit.errors import InvalidArgument

USUAL = 100
MOST = 1000
_LONGEST_TOKEN = 2048


def size_of(asked: int) -> int:
    """How many entries a page may have: `asked`, or 100 when that is 0."""
    if not 0 <= asked <= MOST:
        raise InvalidArgument("page.size", f"is not within 0 and {MOST}")
    return asked or USUAL


def token_of(*position: str | int) -> str:
    """The token of the page that begins after `position`."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def position_of(token: str, kinds: Sequence[type]) -> list[str | int] | None:
    """What `token_of` was given, of the types `kinds`; None for the first page."""
    if not token:
        return None
    try:
        if len(token) > _LONGEST_TOKEN:
            raise ValueError
        position: Any = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        parts = cast("list[str | int]", position if isinstance(position, list) else [])
        if [type(part) for part in parts] != list(kinds):
            raise ValueError
        # A database refuses NUL, and no codec takes half a surrogate pair (UnicodeEncodeError is a ValueError).
        if any(isinstance(part, str) and b"\0" in part.encode() for part in parts):
            raise ValueError
    except (ValueError, TypeError):
        raise InvalidArgument("page.token", "is not a token that this list gave") from None
    return parts
