"""Which service a peer's certificate names: exactly one, or nobody is let in."""

from pathlib import Path

import pytest

from tenantry.kit.certificate import ends_at
from tenantry.kit.errors import Unauthenticated
from tenantry.kit.peer import certified, in_process, spiffe_id
from tests.harness.tls import Certificates


def shown(*names: str, transport: str = "ssl") -> dict[str, list[bytes]]:
    context = {"transport_security_type": [transport.encode()], "x509_common_name": [b"gateway"]}
    return context | {"peer_uri": [name.encode() for name in names]} if names else context


def test_the_one_name_in_the_certificate_is_the_service() -> None:
    assert certified(shown(spiffe_id("gateway")), 0) == "gateway"
    assert certified(in_process("insight"), 0) == "insight"


@pytest.mark.parametrize(
    "context", [{}, shown(transport="insecure"), shown(spiffe_id("gateway"), transport="insecure")]
)
def test_a_connection_without_certificates_says_nothing(context: dict[str, list[bytes]]) -> None:
    assert certified(context, 0) is None


@pytest.mark.parametrize(
    "names",
    [
        (),
        (spiffe_id("gateway"), spiffe_id("quota")),
        (spiffe_id("gateway"), "https://example.com/"),
        (spiffe_id("probe"),),
        ("spiffe://other/service/gateway",),
        ("spiffe://tenantry/service/",),
        ("spiffe://tenantry/service/gateway/",),
        ("spiffe://tenantry/service/gateway\n",),
        ("spiffe://tenantry/service/Gateway",),
        ("spiffe://tenantry/service/gateway\0",),
        ("SPIFFE://tenantry/service/gateway",),
        ("xspiffe://tenantry/service/gateway",),
    ],
)
def test_any_other_certificate_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(Unauthenticated):
        certified(shown(*names), 0)


def test_a_certificate_that_has_ended_since_the_handshake_is_refused(tmp_path: Path) -> None:
    made = Certificates(tmp_path).made("gateway")
    context = shown(spiffe_id("gateway")) | {"x509_pem_cert": [made.chain]}
    end = ends_at(made.chain).timestamp()
    assert certified(context, end - 1) == "gateway"
    with pytest.raises(Unauthenticated, match="has ended"):
        certified(context, end)
