"""An organisation's admin and a sibling organisation: it is as if it were not there."""

import secrets
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from tenantry.tenancy.roles import ORGANISATION_ADMIN
from tests.attack.mesh.conftest import People
from tests.attack.mesh.contracts import Rpc, outcome_of, rpcs

REFUSED = ("NOT_FOUND", "PERMISSION_DENIED", "INVALID_ARGUMENT")


def naming() -> Iterator[Rpc]:
    """Each RPC in whose request an organisation is named; a new one's id is unique in the mesh, so that it must say if it is
    taken."""
    for rpc in rpcs():
        named = "organisation" in rpc.method.input_type.fields_by_name
        if rpc.access.audience == "admin" and named and rpc.method.name != "CreateOrganisation":
            yield rpc


@pytest.mark.parametrize("rpc", tuple(naming()), ids=str)
def test_an_organisations_admin_that_names_a_sibling_organisation(people: People, rpc: Rpc) -> None:
    def heard(organisation: str) -> tuple[str, str]:
        message: Any = GetMessageClass(rpc.method.input_type)(organisation=organisation)
        metadata = (("authorization", f"Bearer {people.keys[ORGANISATION_ADMIN]}"),)
        call = people.channel(people.mesh.edge).unary_unary(rpc.path)
        try:
            call(message.SerializeToString(), metadata=metadata, timeout=10)
        except grpc.RpcError as error:
            return outcome_of(error)[0], str(error.details()).replace(organisation, "ORGANISATION")
        return "OK", ""

    foreign, absent = heard(people.other.organisation), heard(f"absent-{secrets.token_hex(4)}")
    assert foreign == absent
    assert foreign[0] in REFUSED
