"""What an id may look like, and new ids. An id of another form is refused, never normalised."""

import base64
import re
import secrets
import time

from tenantry.kit.errors import InvalidArgument

_MAX_ID = 63
_ALPHABET = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
# Crockford's base 32: as many letters in the same order, others left out.
_ULID = bytes.maketrans(b"0123456789ABCDEFGHIJKLMNOPQRSTUV", b"0123456789abcdefghjkmnpqrstvwxyz")
_CHARS = 26
_RANDOM_BITS = 80


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
    number = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    return f"{prefix}_{base64.b32hexencode(number.to_bytes(20)).translate(_ULID)[-_CHARS:].decode()}"
