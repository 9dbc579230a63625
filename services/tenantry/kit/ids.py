"""What an id may look like, and new ids. An id of another form is refused, never normalised."""

import re
import secrets
import time
from functools import lru_cache

from tenantry.kit.errors import InvalidArgument

_MAX_ID = 63
_ALPHABET = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
# Crockford's base 32 in lower case: the letters of a ULID, and the one that each random byte stands for.
_LETTERS = b"0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM = _LETTERS * 8
_TIME_LETTERS, _RANDOM_LETTERS = 10, 16


def check_tenant_id(text: str, field: str = "tenant") -> str:
    """The text itself when it may be a tenant's id."""
    return check_name(text, field)


def check_organisation_id(text: str, field: str = "organisation") -> str:
    """The text itself when it may be an organisation's id."""
    return check_name(text, field)


def check_name(text: str, field: str, max: int = _MAX_ID) -> str:
    """The text itself when it is 1 to `max` of a-z, 0-9 and inner hyphens."""
    if not text:
        raise InvalidArgument(field, "is missing")
    if len(text) > max:
        raise InvalidArgument(field, f"is longer than {max} characters")
    if _ALPHABET.fullmatch(text) is None:
        raise InvalidArgument(field, "may hold a-z, 0-9 and hyphens, and neither starts nor ends with a hyphen")
    return text


def new_id(prefix: str) -> str:
    """`prefix`, an underscore and 26 characters that sort by the millisecond they were made in (a ULID in lower case)."""
    random = secrets.token_bytes(_RANDOM_LETTERS).translate(_RANDOM).decode()
    return f"{prefix}_{_time_letters(time.time_ns() // 1_000_000)}{random}"


@lru_cache(maxsize=16)
def _time_letters(milliseconds: int) -> str:
    places = range(5 * (_TIME_LETTERS - 1), -1, -5)
    return bytes(_LETTERS[milliseconds >> place & 31] for place in places).decode()
