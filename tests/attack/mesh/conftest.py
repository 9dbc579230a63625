"""Everybody who may stand before a mesh: keys of every role, assertions, service tokens, and a second tenant."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import grpc
import pytest

from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.kit import call
from tenantry.kit.access import EDGE
from tenantry.kit.settings import SERVICES
from tenantry.tenancy.roles import AUDITOR, OPERATOR, ORGANISATION_ADMIN, ROLES, TENANT_ADMIN, TENANT_SERVICE
from tests.harness.mesh import RunningMesh, TenantKeys, stub_of

# A tenant's key with next to no right: what a service may do for it, it may not do itself.
BARE = "bare key"
BARE_SCOPES = frozenset({"cache.read"})

# Who audits one tenant alone.
TENANT_AUDITOR = "tenant's auditor"

Metadata = list[tuple[str, str]]


@dataclass
class People:
    """Callers of one mesh. `keys` is by role, `own` is their tenant, `other` is a tenant of another organisation."""

    mesh: RunningMesh
    own: TenantKeys
    other: TenantKeys
    keys: dict[str, str]
    channels: dict[str, grpc.Channel] = field(default_factory=dict)

    def channel(self, address: str) -> Any:
        """A blocking channel that adds nothing to a call; the stubs' types know only those of grpc.aio."""
        if address not in self.channels:
            self.channels[address] = grpc.insecure_channel(address)
        return self.channels[address]

    def close(self) -> None:
        for channel in self.channels.values():
            channel.close()

    @cached_property
    def tokens(self) -> dict[str, str]:
        """Every service's own token."""
        if not self.mesh.addresses:
            pytest.skip("the services' tokens are inside the mesh")
        return {name: (self.mesh.state / "tokens" / f"{name}.token").read_text().strip() for name in (*SERVICES, EDGE)}

    def assertion(self, key: str) -> Metadata:
        """What tenancy says of a key, as it travels inside the mesh."""
        stub = stub_of(IdentityServiceStub, self.channel(self.mesh.addresses["tenancy"]))
        request = identity_pb.AuthenticateCallerRequest(credential=key)
        answer: Any = stub.AuthenticateCaller(request, metadata=((call.SERVICE, self.tokens["gateway"]),), timeout=10)
        pairs = [(call.ASSERTION, answer.assertion)]
        return [*pairs, (call.TENANT, answer.tenant)] if answer.tenant else pairs


@pytest.fixture(scope="session")
def people(mesh: RunningMesh) -> Iterator[People]:
    """Callers of a mesh. What they need of its inside, they skip where it is not known."""
    suffix = secrets.token_hex(3)
    own, other = mesh.tenant(f"own-{suffix}"), mesh.tenant(f"other-{suffix}")
    keys = stub_of(KeyServiceStub, mesh.channel(mesh.operator_key))
    admin: Any = keys.CreateApiKey(
        key_pb.CreateApiKeyRequest(organisation=own.organisation, scopes=sorted(ROLES[ORGANISATION_ADMIN]))
    )
    auditor: Any = keys.CreateApiKey(
        key_pb.CreateApiKeyRequest(organisation=own.organisation, scopes=sorted(ROLES[AUDITOR]))
    )
    everybody = People(
        mesh,
        own,
        other,
        {
            TENANT_SERVICE: mesh.key(own.tenant, sorted(ROLES[TENANT_SERVICE])),
            TENANT_ADMIN: own.key,
            ORGANISATION_ADMIN: admin.secret,
            OPERATOR: mesh.operator_key,
            AUDITOR: auditor.secret,
            TENANT_AUDITOR: mesh.key(own.tenant, sorted(ROLES[AUDITOR] & ROLES[TENANT_ADMIN])),
            BARE: mesh.key(own.tenant, sorted(BARE_SCOPES)),
        },
    )
    yield everybody
    everybody.close()
