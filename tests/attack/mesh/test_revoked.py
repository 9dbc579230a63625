"""Rights that ended: assertions that were issued before, shown to every service at its own address."""

import time
from typing import Any

import pytest

from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.kit.settings import SERVICES
from tenantry.tenancy.roles import ROLES, TENANT_ADMIN
from tests.attack.mesh.conftest import Metadata, People
from tests.attack.mesh.contracts import Rpc, request_for, rpcs, send
from tests.harness.mesh import TenantKeys
from tests.harness.poll import until

WORST_S = 5.0
BAD_CREDENTIAL = ("UNAUTHENTICATED", "CREDENTIAL_INVALID")
NOT_ACTIVE = ("FAILED_PRECONDITION", "TENANT_NOT_ACTIVE")
NO_SCOPE = ("PERMISSION_DENIED", "SCOPE_MISSING")


def one_of_each() -> list[Rpc]:
    """For each service an RPC that a tenant's admin may call."""
    allowed = [
        one
        for one in rpcs()
        if one.access.scope in ROLES[TENANT_ADMIN] and not one.method.client_streaming and one.method.name[0] in "LG"
    ]
    return [next(one for one in allowed if one.service == service) for service in SERVICES]


class Thief:
    """Somebody with an assertion of a tenant's key who calls every service."""

    def __init__(self, people: People) -> None:
        self.people = people
        self.tenant: TenantKeys = people.mesh.tenant()
        self.keys: Any = people.mesh.stub(KeyServiceStub, people.mesh.operator_key)
        self.tenants: Any = people.mesh.stub(TenantServiceStub, people.mesh.operator_key)
        request = key_pb.CreateApiKeyRequest(tenant=self.tenant.tenant, scopes=sorted(ROLES[TENANT_ADMIN]))
        made = self.keys.CreateApiKey(request)
        self.key_id, self.secret = made.key.key_id, made.secret
        self.assertion: Metadata = people.assertion(made.secret)

    def tries(self) -> dict[str, tuple[str, str]]:
        """What each service says."""
        channel, addresses = self.people.channel, self.people.mesh.addresses
        return {
            rpc.service: send(channel(addresses[rpc.service]), rpc, request_for(rpc, "", ""), self.assertion)
            for rpc in one_of_each()
        }

    async def is_refused(self, as_: tuple[str, str]) -> None:
        """Each service refuses the assertion in time."""
        ended_at = time.monotonic()
        await until(lambda: set(self.tries().values()) == {as_}, within_s=WORST_S, what=f"{as_} everywhere")
        assert time.monotonic() - ended_at <= WORST_S


@pytest.fixture
def thief(people: People) -> Thief:
    one = Thief(people)
    before = one.tries()
    assert set(before) == set(SERVICES) and not {BAD_CREDENTIAL, NOT_ACTIVE, NO_SCOPE} & set(before.values()), before
    return one


async def test_a_revoked_key_within_its_caches_life(thief: Thief) -> None:
    thief.keys.RevokeApiKey(key_pb.RevokeApiKeyRequest(tenant=thief.tenant.tenant, key_id=thief.key_id))
    await thief.is_refused(BAD_CREDENTIAL)


async def test_a_key_with_a_scope_taken_away(thief: Thief) -> None:
    request = key_pb.UpdateApiKeyRequest(
        tenant=thief.tenant.tenant, key_id=thief.key_id, version=1, scopes=["cache.read"]
    )
    thief.keys.UpdateApiKey(request)
    await thief.is_refused(BAD_CREDENTIAL)
    thief.assertion = thief.people.assertion(thief.secret)
    heard = thief.tries()
    assert {service for service, said in heard.items() if said == NO_SCOPE} >= set(SERVICES) - {"cache"}, heard


async def test_a_suspended_tenants_assertion_replayed(thief: Thief) -> None:
    thief.tenants.SuspendTenant(tenant_pb.SuspendTenantRequest(tenant=thief.tenant.tenant))
    await thief.is_refused(NOT_ACTIVE)
    thief.tenants.ResumeTenant(tenant_pb.ResumeTenantRequest(tenant=thief.tenant.tenant))
    assert set(thief.tries().values()) == {NOT_ACTIVE}, "what was issued before stays refused"


async def test_a_deleted_tenants_assertion_replayed(thief: Thief) -> None:
    thief.tenants.DeleteTenant(tenant_pb.DeleteTenantRequest(tenant=thief.tenant.tenant))
    await thief.is_refused(NOT_ACTIVE)


async def test_a_key_that_gives_itself_more(thief: Thief) -> None:
    update = next(one for one in rpcs() if one.method.name == "UpdateApiKey")
    for more in ("limits.write", "tenants.write"):
        wanted = key_pb.UpdateApiKeyRequest(key_id=thief.key_id, version=1, scopes=["keys.write", more])
        body = wanted.SerializeToString()
        said = send(thief.people.channel(thief.people.mesh.addresses["tenancy"]), update, body, thief.assertion)
        assert said == NO_SCOPE
    other = thief.people.mesh.tenant()
    foreign: Any = thief.keys.CreateApiKey(key_pb.CreateApiKeyRequest(tenant=other.tenant, scopes=["generate"]))
    body = key_pb.UpdateApiKeyRequest(key_id=foreign.key.key_id, version=1, scopes=["generate"]).SerializeToString()
    said = send(thief.people.channel(thief.people.mesh.addresses["tenancy"]), update, body, thief.assertion)
    assert said == ("NOT_FOUND", "NOT_FOUND")
