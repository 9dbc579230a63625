"""Address blocks that callers may be restricted to. Pure functions of texts."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def network_of(text: str) -> Network | None:
    """The block, if the text is its usual form: one way to write each, with its prefix and no bits after it."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    if str(network) != text or "%" in text:
        return None
    mapped = isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None
    # An IPv4 caller is always looked for among IPv4 blocks.
    return None if mapped else network


def address_of(text: str) -> Address | None:
    """The address; IPv4 written as IPv6 (`::ffff:192.0.2.1`) is IPv4."""
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def allows(networks: Sequence[str], address: str) -> bool:
    """Whether a caller from that address may come in. No networks: all may. An address that is not known is in none."""
    if not networks:
        return True
    known = address_of(address)
    return known is not None and any(known in network for network in _parsed(tuple(networks)))


def within(inner: str, outer: Sequence[str]) -> bool:
    """Whether a block lies in one of the others."""
    (block,) = _parsed((inner,))
    return any(_lies_in(block, other) for other in _parsed(tuple(outer)))


def _lies_in(block: Network, other: Network) -> bool:
    if isinstance(block, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and block.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and block.subnet_of(other)


@lru_cache(4096)
def _parsed(networks: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(network) for network in networks)
