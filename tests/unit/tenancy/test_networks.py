"""Address blocks that callers may be restricted to."""

import pytest

from tenantry.tenancy.networks import address_of, allows, network_of, within


@pytest.mark.parametrize("text", ["203.0.113.0/24", "192.0.2.1/32", "0.0.0.0/0", "2001:db8::/32", "::/0", "::1/128"])
def test_a_block_in_its_usual_form_is_taken(text: str) -> None:
    assert str(network_of(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.1",
        "192.0.2.1/24",
        "192.0.2.0/33",
        "192.0.2.0/255.255.255.0",
        "192.0.2.0/024",
        "192.000.2.0/24",
        "0xC0000200/24",
        " 192.0.2.0/24",
        "192.0.2.0/24\n",
        "2001:DB8::/32",
        "2001:db8:0::/32",
        "2001:db8::1/32",
        "fe80::%eth0/64",
        "::ffff:192.0.2.0/120",
        "::ffff:c000:200/120",
        "*",
        "example.com/24",
    ],
)
def test_a_block_in_another_form_is_refused(text: str) -> None:
    assert network_of(text) is None


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.1", True),
        ("192.0.3.1", False),
        ("::ffff:192.0.2.1", True),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("", False),
        ("unknown", False),
        ("192.0.2.1, 10.0.0.1", False),
        ("2001:db8::7%eth0", False),
    ],
)
def test_an_address_is_looked_for_in_each_block(address: str, allowed: bool) -> None:
    assert allows(("192.0.2.0/24", "2001:db8::/32"), address) is allowed
    assert allows((), address)


def test_a_block_lies_in_a_larger_one_of_its_own_kind() -> None:
    assert within("192.0.2.128/25", ("10.0.0.0/8", "192.0.2.0/24"))
    assert within("192.0.2.0/24", ("192.0.2.0/24",))
    assert not within("192.0.0.0/16", ("192.0.2.0/24",))
    assert not within("::/0", ("0.0.0.0/0",)) and not within("0.0.0.0/0", ("::/0",))
    assert str(address_of("::ffff:192.0.2.1")) == "192.0.2.1"
