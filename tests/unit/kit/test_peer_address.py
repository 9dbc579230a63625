"""The address in gRPC's word for a peer."""

import pytest

from tenantry.kit.network import peer_address


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:50051", "192.0.2.1"),
        ("ipv6:[2001:db8::1]:50051", "2001:db8::1"),
        ("ipv6:%5B2001:db8::1%5D:50051", "2001:db8::1"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:1", "::ffff:192.0.2.1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::1"),
        ("unix:/run/edge.sock", ""),
        ("unix:", ""),
        ("inprocess:", ""),
        ("", ""),
    ],
)
def test_a_peer_has_the_address_that_its_connection_comes_from(peer: str, address: str) -> None:
    assert peer_address(peer) == address
