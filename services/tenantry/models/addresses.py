"""Which addresses a provider's API may have: public ones over https; a loopback one over http where development allows it.

A name may lead anywhere, and elsewhere tomorrow: what it leads to is checked again at each connection (`connecting.py`).
"""

import ipaddress
import re
from urllib.parse import urlsplit

_MAX = 512
_NAME = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_LOCAL = ("localhost", ".localhost", ".local", ".internal", ".intranet", ".lan", ".home.arpa", ".svc", ".test")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def fault_of(base_url: str, *, loopback: bool) -> str | None:
    """Why the address may not be called, as the end of a sentence; None if it may. Empty is the provider's own."""
    if not base_url:
        return None
    if len(base_url) > _MAX:
        return f"is longer than {_MAX} characters"
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL"
    if base_url != base_url.strip() or not base_url.isascii() or "\\" in base_url or port == 0:
        return "is not a URL"
    if parts.username is not None or parts.password is not None or "?" in base_url or "#" in base_url:
        return "may hold neither a user, a query nor a fragment"
    if _PATH.fullmatch(parts.path) is None or any(part in {".", ".."} for part in parts.path.split("/")):
        return "has a path that is not plain"
    if parts.scheme == "http":
        return None if loopback and is_loopback(host) else "must begin with https://"
    if parts.scheme != "https":
        return "must begin with https://"
    return _fault_of_host(host, loopback)


def _fault_of_host(host: str, loopback: bool) -> str | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if host.endswith(_LOCAL) or _NAME.fullmatch(host) is None:
            return "must name a public host"
        return None
    return None if permitted(address, loopback=loopback) else "must not be a private, local or reserved address"


def permitted(address: _Address, *, loopback: bool) -> bool:
    """Whether a connection may be made to the address."""
    inner = _embedded(address)
    if inner is not None:
        return permitted(inner, loopback=loopback) and not inner.is_loopback
    if address.is_loopback:
        return loopback
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_loopback(host: str) -> bool:
    """Whether the host is a loopback address in its plain form."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _embedded(address: _Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4, or through NAT64 (RFC 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
