"""What somebody with a key, or with none, may try against tenancy."""

import time
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp

from tenantry.api.tenancy.v1 import audit_service_pb2 as audit_pb
from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.kit import call
from tenantry.kit.assertion import sign_assertion
from tenantry.kit.errors import FailedPrecondition, NotFound, PermissionDenied, Reason, TenantryError, Unauthenticated
from tenantry.tenancy.roles import OPERATOR, ORGANISATION_ADMIN, ROLES, TENANT_ADMIN
from tests.attack.tenancy.conftest import Victims
from tests.harness.room import caller_of


async def test_a_key_with_more_scopes_than_its_maker(victims: Victims) -> None:
    async with victims.world.as_holder(victims.acme[1]):
        for scope in sorted(ROLES[OPERATOR] - ROLES[TENANT_ADMIN]):
            with pytest.raises(PermissionDenied) as refused:
                await victims.world.keys.CreateApiKey(key_pb.CreateApiKeyRequest(scopes=["generate", scope]))
            assert refused.value.metadata == {"scope": scope}


async def test_a_chain_of_keys_that_sheds_its_restrictions(victims: Victims) -> None:
    end = Timestamp(seconds=int(time.time()) + 600)
    scopes = ["generate", "keys.write"]
    _, narrow = await victims.world.key("acme", scopes=scopes, models=["small"], collections=["faq"], expire_time=end)
    kept: dict[str, Any] = {"scopes": scopes, "models": ["small"], "collections": ["faq"], "expire_time": end}
    async with victims.world.as_holder(narrow):
        await victims.world.keys.CreateApiKey(key_pb.CreateApiKeyRequest(**kept))
        later = Timestamp(seconds=end.seconds + 1)
        for shed in ({"models": []}, {"collections": []}, {"expire_time": None}, {"expire_time": later}):
            with pytest.raises(PermissionDenied):
                await victims.world.keys.CreateApiKey(key_pb.CreateApiKeyRequest(**{**kept, **shed}))


async def test_a_key_for_a_foreign_tenant_or_organisation(victims: Victims) -> None:
    _, organisations = await victims.world.key(organisation="acme-org", scopes=ROLES[ORGANISATION_ADMIN])
    for secret in (victims.acme[1], organisations):
        async with victims.world.as_holder(secret):
            foreigners: list[dict[str, Any]] = [
                {"tenant": "globex"},
                {"organisation": "globex-org"},
                {"tenant": "nobody"},
            ]
            for foreign in foreigners:
                with pytest.raises(NotFound):
                    await victims.world.keys.CreateApiKey(key_pb.CreateApiKeyRequest(scopes=["generate"], **foreign))
    async with victims.world.as_holder(victims.acme[1]):
        with pytest.raises(NotFound):
            request = key_pb.CreateApiKeyRequest(scopes=["generate"], organisation="acme-org")
            await victims.world.keys.CreateApiKey(request)


async def test_everything_about_a_foreign_tenant_looks_as_if_it_did_not_exist(victims: Victims) -> None:
    world = victims.world
    async with world.as_holder(world.operator):
        deletion = await world.tenants.DeleteTenant(tenant_pb.DeleteTenantRequest(tenant="globex"))
    operation = deletion.operation.operation
    _, admin = await world.key("acme", scopes=ROLES[OPERATOR])
    requests = [
        (world.tenants.GetTenant, tenant_pb.GetTenantRequest, {"tenant": "globex"}, {"tenant": "nobody"}),
        (world.tenants.DeleteTenant, tenant_pb.DeleteTenantRequest, {"tenant": "globex"}, {"tenant": "nobody"}),
        (
            world.tenants.GetOperation,
            tenant_pb.GetOperationRequest,
            {"operation": operation},
            {"operation": _nobody("op")},
        ),
        (
            world.tenants.GetOrganisation,
            tenant_pb.GetOrganisationRequest,
            {"organisation": "globex-org"},
            {"organisation": "nobody"},
        ),
        (
            world.tenants.ListTenants,
            tenant_pb.ListTenantsRequest,
            {"organisation": "globex-org"},
            {"organisation": "x"},
        ),
        (world.keys.ListApiKeys, key_pb.ListApiKeysRequest, {"tenant": "globex"}, {"tenant": "nobody"}),
        (
            world.keys.RevokeApiKey,
            key_pb.RevokeApiKeyRequest,
            {"tenant": "globex", "key_id": victims.globex[0]},
            {"tenant": "nobody", "key_id": _nobody("key")},
        ),
        (world.audit.ListAuditEvents, audit_pb.ListAuditEventsRequest, {"tenant": "globex"}, {"tenant": "nobody"}),
    ]
    async with world.as_holder(admin):
        for rpc, message, foreign, absent in requests:
            refusals: list[TenantryError] = []
            for fields in (foreign, absent):
                with pytest.raises(NotFound) as refused:
                    await rpc(message(**fields))
                refusals.append(refused.value)
            assert refusals[0].message == refusals[1].message
            assert refusals[0].metadata == refusals[1].metadata


async def test_a_foreign_key_revoked_by_its_id_alone(victims: Victims) -> None:
    async with victims.world.as_holder(victims.acme[1]):
        for tenant in ("", "acme"):
            with pytest.raises(NotFound):
                request = key_pb.RevokeApiKeyRequest(tenant=tenant, key_id=victims.globex[0])
                await victims.world.keys.RevokeApiKey(request)
    assert (await victims.world.authenticate(victims.globex[1])).tenant == "globex"


async def test_a_tenants_caller_making_a_tenant(victims: Victims) -> None:
    _, admin = await victims.world.key("acme", scopes=ROLES[OPERATOR])
    async with victims.world.as_holder(admin):
        for organisation in ("", "acme-org", "globex-org"):
            request = tenant_pb.CreateTenantRequest(tenant="new", organisation=organisation, tier=tenant_pb2.TIER_PRO)
            with pytest.raises(PermissionDenied):
                await victims.world.tenants.CreateTenant(request)


async def test_a_key_whose_secret_is_another_keys(victims: Victims) -> None:
    """The id of one key with the random bits of another, and a checksum that fits."""
    from tenantry.tenancy import credentials

    body = victims.globex[1][:30] + victims.acme[1][30:73]
    forged = body + credentials._checksum(body)  # pyright: ignore[reportPrivateUsage]
    assert credentials.key_id_of(forged) == victims.globex[0]
    with pytest.raises(Unauthenticated):
        await victims.world.authenticate(forged)


async def test_a_revoked_key(victims: Victims) -> None:
    world = victims.world
    before = await world.call_of(victims.acme[1])
    async with world.as_holder(world.operator):
        await world.keys.RevokeApiKey(key_pb.RevokeApiKeyRequest(tenant="acme", key_id=victims.acme[0]))
    with pytest.raises(Unauthenticated):
        await world.authenticate(victims.acme[1])
    with world.as_caller(before), pytest.raises(Unauthenticated):
        # The assertion is still good for a minute, but makes no new keys.
        await world.keys.CreateApiKey(key_pb.CreateApiKeyRequest(scopes=["generate"]))


async def test_a_deleted_tenants_key(victims: Victims) -> None:
    world = victims.world
    before = await world.call_of(victims.acme[1])
    async with world.as_holder(world.operator):
        deletion = await world.tenants.DeleteTenant(tenant_pb.DeleteTenantRequest(tenant="acme"))
        with pytest.raises(Unauthenticated):
            await world.authenticate(victims.acme[1])
        # By its revoked key, or, where the word of that came first, by its tenant.
        with world.as_caller(before), pytest.raises((Unauthenticated, FailedPrecondition)):
            await world.keys.CreateApiKey(key_pb.CreateApiKeyRequest(scopes=["generate"]))
        await world.ended(deletion.operation.operation)
        with pytest.raises(TenantryError) as refused:
            await world.keys.CreateApiKey(key_pb.CreateApiKeyRequest(tenant="acme", scopes=["generate"]))
        assert refused.value.reason is Reason.TENANT_NOT_ACTIVE
    with pytest.raises(Unauthenticated):
        await world.authenticate(victims.acme[1])


async def test_a_service_token_used_as_an_assertion_and_the_other_way_round(victims: Victims) -> None:
    world = victims.world
    stolen = world.token("gateway")
    honest = await world.call_of(victims.acme[1])
    with world.as_caller(replace(honest, assertion=stolen)), pytest.raises(Unauthenticated):
        await world.keys.ListApiKeys(key_pb.ListApiKeysRequest())
    assertion = honest.assertion
    (world.settings.tokens / "forged.token").write_text(assertion)
    stub = IdentityServiceStub(world.channel("forged"))
    with pytest.raises(Unauthenticated):
        await stub.AuthenticateCaller(identity_pb.AuthenticateCallerRequest(credential=victims.acme[1]))


async def test_a_forged_an_unsigned_and_an_ended_assertion(victims: Victims) -> None:
    world = victims.world
    honest = await world.call_of(victims.acme[1])
    claims = jwt.decode(honest.assertion, options={"verify_signature": False})
    header = jwt.get_unverified_header(honest.assertion)
    del header["alg"]
    robber = caller_of("", "", scopes=ROLES[OPERATOR])
    forgeries = [
        sign_assertion(Ed25519PrivateKey.generate(), header["kid"], robber, time.time()),
        jwt.encode(claims, "", algorithm="none", headers=header),
        jwt.encode(claims, "k" * 32, algorithm="HS256", headers=header),
        honest.assertion[:-8] + "AAAAAAAA",
    ]
    for forged in forgeries:
        with world.as_caller(replace(honest, assertion=forged)), pytest.raises(Unauthenticated):
            await world.keys.ListApiKeys(key_pb.ListApiKeysRequest())


async def test_identity_asked_for_by_an_outsider_or_another_service(victims: Victims) -> None:
    request = identity_pb.AuthenticateCallerRequest(credential=victims.acme[1])
    with pytest.raises(Unauthenticated):
        await IdentityServiceStub(victims.world.channel()).AuthenticateCaller(request)
    with pytest.raises(PermissionDenied):
        await IdentityServiceStub(victims.world.channel("models")).AuthenticateCaller(request)
    async with victims.world.as_holder(victims.acme[1]):
        for rpc, message in (
            ("RenewServiceToken", identity_pb.RenewServiceTokenRequest()),
            ("ListSigningKeys", identity_pb.ListSigningKeysRequest()),
        ):
            with pytest.raises(Unauthenticated):
                await getattr(IdentityServiceStub(victims.world.channel()), rpc)(message)


async def test_an_assertion_of_one_tenant_with_the_id_of_another_beside_it(victims: Victims) -> None:
    honest = await victims.world.call_of(victims.acme[1])
    assert honest.caller is not None
    lying = call.Call(caller=replace(honest.caller, tenant="globex"), assertion=honest.assertion)
    with victims.world.as_caller(lying), pytest.raises(Unauthenticated):
        await victims.world.keys.ListApiKeys(key_pb.ListApiKeysRequest())


def _nobody(prefix: str) -> str:
    return f"{prefix}_{'0' * 26}"
