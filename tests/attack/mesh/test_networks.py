"""A key that is restricted to networks, used from elsewhere with headers that say otherwise. At the edge, from 127.0.0.1."""

from tests.attack.mesh.conftest import Metadata, People
from tests.attack.mesh.test_identity import list_documents

DENIED = ("PERMISSION_DENIED", "NETWORK_DENIED")
CLAIMS = ("192.0.2.1", "192.0.2.1, 127.0.0.1", "127.0.0.1, 192.0.2.1")


def test_a_network_restriction_evaded_by_a_forged_address(people: People) -> None:
    restricted = people.mesh.key(people.own.tenant, ["documents.read"], networks=["192.0.2.0/24"])
    own = ("authorization", f"Bearer {restricted}")
    lies: list[Metadata] = [[]]
    for claim in CLAIMS:
        lies += [
            [("x-forwarded-for", claim)],
            [("x-real-ip", claim)],
            [("x-envoy-external-address", claim)],
            [("true-client-ip", claim), ("cf-connecting-ip", claim)],
            [("forwarded", f"for={claim}")],
            [("x-tenantry-client-address", claim), ("client-address", claim)],
        ]
    for headers in lies:
        assert list_documents(people, [own, *headers], people.mesh.edge) == DENIED


def test_a_caller_within_the_networks_comes_in(people: People) -> None:
    allowed = people.mesh.key(people.own.tenant, ["documents.read"], networks=["127.0.0.0/8"])
    headers: Metadata = [("authorization", f"Bearer {allowed}"), ("x-forwarded-for", "198.51.100.1")]
    assert isinstance(list_documents(people, headers, people.mesh.edge), list)
