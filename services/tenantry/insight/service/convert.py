"""The page tokens of both contracts."""

import re

from tenantry.kit import paging
from tenantry.kit.errors import InvalidArgument

_ID = re.compile(r"[\x21-\x7e]{1,256}")


def position_of(token: str) -> tuple[int, str] | None:
    """The time and id where the page before ended; None for the first page. Only what a database can compare."""
    found = paging.position_of(token, [int, str])
    if found is None:
        return None
    time, id = int(found[0]), str(found[1])
    if abs(time) >= 2**63 or _ID.fullmatch(id) is None:
        raise InvalidArgument("page.token", "is not a token that this list gave")
    return time, id
