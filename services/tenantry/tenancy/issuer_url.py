"""The URL of an OIDC issuer, which has one form, and its id, which follows from it: so no issuer has two. Pure functions of
texts."""

import base64
import hashlib
from urllib.parse import urlsplit

from tenantry.kit import addresses

_PREFIX = "iss_"
_CHARS = 26


def fault_of(url: str, *, loopback: bool) -> str:
    """What is wrong with a URL that shall be registered, "" for nothing."""
    fault = addresses.fault_of(url, loopback=loopback)
    if fault:
        return fault
    parts = urlsplit(url)
    if parts.netloc != parts.netloc.lower() or (parts.scheme, parts.port) == ("https", 443):
        return "is not in its usual form: the host in lower case, and no port 443"
    return ""


def issuer_id(url: str) -> str:
    """`iss_` and 130 bits of the URL's SHA-256."""
    return _PREFIX + short(hashlib.sha256(url.encode()).digest())


def is_issuer_id(text: str) -> bool:
    """Whether an id is an issuer's and not a key's."""
    return text.startswith(_PREFIX)


def short(digest: bytes) -> str:
    """The first 130 bits of a digest, in 26 characters."""
    return base64.b32encode(digest)[:_CHARS].decode().lower()
