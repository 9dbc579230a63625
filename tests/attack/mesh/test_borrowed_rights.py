"""The gateway renders, searches and chooses for a key that may only `generate`; the key may not do so by itself."""

from typing import Any

import pytest

from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tests.attack.mesh.conftest import People
from tests.attack.mesh.contracts import Rpc, request_for, rpcs, send
from tests.harness.mesh import stub_of

LENT = tuple(rpc for rpc in rpcs() if rpc.access.audience != "mesh" and rpc.access.services)


@pytest.fixture(scope="module")
def narrow_key(people: People) -> str:
    """A key of the tenant's own with the one scope `generate`."""
    keys = stub_of(KeyServiceStub, people.channel(people.mesh.edge))
    made: Any = keys.CreateApiKey(
        key_pb.CreateApiKeyRequest(scopes=["generate"]), metadata=[("authorization", f"Bearer {people.own.key}")]
    )
    return made.secret


def test_there_are_rpcs_that_the_gateway_may_call_for_callers_without_the_scope() -> None:
    assert {rpc.method.name for rpc in LENT} >= {"RenderPrompt", "SearchPassages", "SelectModel"}


@pytest.mark.parametrize("rpc", LENT, ids=str)
def test_a_right_of_the_gateway_s_borrowed_at_the_edge(people: People, narrow_key: str, rpc: Rpc) -> None:
    body = request_for(rpc, people.own.tenant, narrow_key)
    heard = send(people.channel(people.mesh.edge), rpc, body, [("authorization", f"Bearer {narrow_key}")])
    assert heard == ("PERMISSION_DENIED", "SCOPE_MISSING")
