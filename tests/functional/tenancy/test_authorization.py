"""What tenancy answers to Envoy: the decision of AuthenticateCaller, in Envoy's words."""

import base64
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc import status_pb2

from tenantry.api.envoy.service.auth.v3 import external_auth_pb2 as pb
from tenantry.api.envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub
from tenantry.api.tenancy.v1 import audit_service_pb2 as audit_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.kit import call
from tenantry.kit.errors import PermissionDenied, TenantryError, Unauthenticated
from tenantry.kit.status import DETAILS, from_status
from tests.functional.tenancy.world import World
from tests.harness.poll import until


async def check(tenancy: World, *credentials: str, service: str = "edge") -> Any:
    """Tenancy's answer to a request with these authorization headers."""
    request = pb.CheckRequest()
    for credential in credentials:
        request.attributes.request.http.header_map.headers.add(key="authorization", raw_value=credential.encode())
    return await AuthorizationStub(tenancy.channel(service)).Check(request)


def refused(answer: Any) -> TenantryError:
    denied = answer.denied_response
    headers = {one.header.key: one.header.value for one in denied.headers}
    status = status_pb2.Status.FromString(base64.b64decode(headers[DETAILS] + "=="))
    assert status.code == int(headers["grpc-status"]) == answer.status.code and status.message == denied.body
    return from_status(status)


async def test_a_caller_goes_on_with_an_assertion_and_without_its_credential(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    _, secret = await tenancy.key("acme")
    answer = await check(tenancy, f"Bearer {secret}")
    assert answer.status.code == 0
    headers = {one.header.key: one.header.value for one in answer.ok_response.headers}
    assert headers == {call.ASSERTION: (await tenancy.authenticate(secret)).assertion, call.TENANT: "acme"}
    assert list(answer.ok_response.headers_to_remove) == ["authorization"]
    known = {"tenant": "acme", "organisation": "acme-org", "tier": "pro"}
    assert MessageToDict(answer.dynamic_metadata) == known


async def test_an_administrator_goes_on_without_a_tenant(tenancy: World) -> None:
    answer = await check(tenancy, f"Bearer {tenancy.operator}")
    assert [one.header.key for one in answer.ok_response.headers] == [call.ASSERTION]
    assert MessageToDict(answer.dynamic_metadata) == {}


@pytest.mark.parametrize(
    "credentials",
    [(), ("Bearer ",), ("Basic abc",), ("Bearer tnt_x",), ("Bearer a", "Bearer b"), ("Bearer a,Bearer b",), ("é",)],
)
async def test_whoever_has_no_credential_or_a_wrong_one_is_told_so(
    tenancy: World, credentials: tuple[str, ...]
) -> None:
    answer = await check(tenancy, *credentials)
    assert refused(answer).code == "UNAUTHENTICATED" and answer.denied_response.status.code == 401


async def test_a_key_that_was_revoked_is_refused_with_the_words_of_authenticate_caller(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    key_id, secret = await tenancy.key("acme")
    async with tenancy.as_holder(tenancy.operator):
        await tenancy.keys.RevokeApiKey(key_pb.RevokeApiKeyRequest(tenant="acme", key_id=key_id))
    with pytest.raises(Unauthenticated) as expected:
        await tenancy.authenticate(secret)
    found = refused(await check(tenancy, f"Bearer {secret}"))
    assert (found.code, found.reason, found.message) == (
        "UNAUTHENTICATED",
        expected.value.reason,
        expected.value.message,
    )


async def test_who_is_refused_at_envoy_is_in_the_platforms_audit_log(tenancy: World) -> None:
    refused(await check(tenancy, "Bearer tnt_x"))

    async def noted() -> bool:
        async with tenancy.as_holder(tenancy.operator):
            events = (await tenancy.audit.ListAuditEvents(audit_pb.ListAuditEventsRequest())).events
        return ("service:edge", "AuthenticateCaller") in {(one.principal, one.action) for one in events}

    await until(noted)


@pytest.mark.parametrize("service", ["gateway", "quota", ""])
async def test_nobody_but_envoy_is_answered(tenancy: World, service: str) -> None:
    with pytest.raises((PermissionDenied, Unauthenticated)):
        await check(tenancy, f"Bearer {tenancy.operator}", service=service)


async def test_envoy_may_renew_its_token_and_read_nothing(tenancy: World) -> None:
    from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
    from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub

    stub = IdentityServiceStub(tenancy.channel("edge"))
    assert (await stub.RenewServiceToken(identity_pb.RenewServiceTokenRequest())).token
    with pytest.raises(PermissionDenied):
        await stub.ListSigningKeys(identity_pb.ListSigningKeysRequest())
    with pytest.raises(PermissionDenied):
        await stub.AuthenticateCaller(identity_pb.AuthenticateCallerRequest(credential=tenancy.operator))
