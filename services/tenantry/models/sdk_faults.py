"""What a provider's SDK raises, mapped once: each exception class has a meaning, and each meaning an error of ours."""

import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from tenantry.kit.errors import TenantryError
from tenantry.models import faults
from tenantry.models.faults import Kind

log = logging.getLogger(__name__)


class Meaning(StrEnum):
    """What an exception says of the provider."""

    STATUS = "status"  # its answer has a status that says it, or it told an error in a stream
    FAILED = "failed"
    GARBAGE = "garbage"
    REFUSED = "refused"


Meanings = Mapping[type[BaseException], Meaning]

# The reading of an answer that has another shape than it should raises these.
SHAPE: Meanings = dict.fromkeys((ValueError, TypeError, AttributeError, LookupError), Meaning.GARBAGE)
_TOLD_STATUS = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
}


def http_meanings() -> Meanings:
    """The meanings of what the HTTP client raises where the SDK lets it pass, as it does while a stream is read."""
    import httpx2

    return {
        httpx2.TransportError: Meaning.FAILED,
        httpx2.DecodingError: Meaning.GARBAGE,
        httpx2.TooManyRedirects: Meaning.GARBAGE,
        httpx2.StreamError: Meaning.FAILED,
        httpx2.InvalidURL: Meaning.REFUSED,
    }


def meaning_of(error: BaseException, *tables: Meanings) -> Meaning | None:
    """The meaning of the nearest class that a table has; None when no table knows it."""
    for ancestor in type(error).__mro__:
        for table in tables:
            if ancestor in table:
                return table[ancestor]
    return None


def fault(provider: str, error: Exception, meanings: Meanings, *, begun: bool) -> Exception:
    """What the failed call comes out as. `begun`: a part of the answer had come already."""
    if isinstance(error, TenantryError):
        return error
    meaning = meaning_of(error, meanings, http_meanings(), SHAPE)
    if meaning is None:
        return error
    # Its class and no more: its words may quote what was asked.
    log.warning("the provider %s failed: %s", provider, type(error).__name__)
    if meaning is Meaning.REFUSED:
        return faults.refused(provider)
    if meaning is Meaning.GARBAGE:
        return faults.unavailable(provider, Kind.GARBAGE)
    if meaning is Meaning.STATUS:
        return _of_status(provider, error)
    return faults.unavailable(provider, Kind.CUT if begun else Kind.FAILED)


def _of_status(provider: str, error: Any) -> TenantryError:
    status = int(error.status_code)
    if status < 300:
        # The stream had begun, and told an error.
        status = _TOLD_STATUS.get(str(error.type), 500)
    return faults.of_status(provider, status, error.response.headers.get("retry-after"))
