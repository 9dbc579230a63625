"""Which addresses a tenant may have us call (a provider, an OIDC issuer): a pure rule, checked when it names one and again by
what a name resolves to."""

import ipaddress
import re
from urllib.parse import urlsplit

MAX_CHARS = 512
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter and is no hexadecimal number: other spellings of an IPv4 address are refused.
_NAME = re.compile(rf"(?:{_LABEL}\.)+(?!0x)[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_INTERNAL = (".internal", ".local", ".localhost", ".localdomain", ".home.arpa", ".intranet", ".lan", ".corp", ".svc")
_LOOPBACK = "localhost"
# Addresses of cloud metadata that are not private by their range.
_METADATA = frozenset({"168.63.129.16", "100.100.100.200"})
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("2002::/16"))


def fault_of(base_url: str, *, loopback: bool) -> str:
    """What is wrong with such an address, "" for nothing. With `loopback`, http to this machine is allowed."""
    if len(base_url) > MAX_CHARS:
        return f"is longer than {MAX_CHARS} characters"
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    host = parts.hostname or ""
    if base_url != f"{parts.scheme}://{parts.netloc}{parts.path}" or "@" in parts.netloc or port == 0:
        return "may hold nothing but scheme, host, port and path"
    if not _PATH.fullmatch(parts.path) or "/.." in parts.path or "/./" in parts.path:
        return "has a path of another form than /a/b"
    if loopback and parts.scheme in ("http", "https") and _is_loopback(host):
        return ""
    if parts.scheme != "https":
        return "does not begin with https://"
    return "" if _may_be(host) else "names a host that is private, internal or not well-formed"


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet, and not of a private network, this machine or a cloud's metadata."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and str(ip) not in _METADATA


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    return host == _LOOPBACK or is_loopback(host)


def _may_be(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _NAME.fullmatch(host) is not None and len(host) <= 253 and not host.endswith(_INTERNAL)
    return is_public(host)
