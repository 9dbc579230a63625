"""API keys and the audit log, as administrators see them."""

import time
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tenantry.api.tenancy.v1 import audit_service_pb2 as audit_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as pb
from tenantry.kit.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Reason, Unauthenticated
from tenantry.tenancy import audit_chain
from tenantry.tenancy.records import AuditEntry, AuditEvent
from tests.functional.tenancy.world import SERVICE_SCOPES, World
from tests.harness.poll import until


async def test_a_key_speaks_for_its_tenant_within_its_restrictions(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    key_id, secret = await tenancy.key("acme", scopes=SERVICE_SCOPES, models=["small"], collections=["faq"])
    answer = await tenancy.authenticate(secret)
    assert (answer.tenant, answer.tier) == ("acme", "pro")
    caller = await tenancy.caller(answer.assertion)
    assert (caller.tenant, caller.organisation, caller.tier) == ("acme", "acme-org", "pro")
    assert (caller.principal, caller.key_id, sorted(caller.scopes)) == (key_id, key_id, SERVICE_SCOPES)
    assert (caller.models, caller.collections) == (("small",), ("faq",))
    assert (caller.key_generation, caller.tenant_generation) == (1, 2)
    assert 100 < caller.expires_at - time.time() <= 120


async def test_a_key_is_listed_without_its_secret_and_a_revoked_one_is_refused(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    _, admin = await tenancy.key("acme")
    async with tenancy.as_holder(admin):
        made = await tenancy.keys.CreateApiKey(
            pb.CreateApiKeyRequest(display_name="back end", scopes=["generate"], models=["b", "a"])
        )
        listed = (await tenancy.keys.ListApiKeys(pb.ListApiKeysRequest())).keys
        assert listed[0] == made.key and len(listed) == 2
        assert (made.key.tenant, made.key.organisation, list(made.key.models)) == ("acme", "acme-org", ["a", "b"])
        assert made.secret not in str(listed) and not made.key.HasField("expire_time")
        assert (await tenancy.authenticate(made.secret)).tenant == "acme"
        revoke = pb.RevokeApiKeyRequest(key_id=made.key.key_id)
        revoked = (await tenancy.keys.RevokeApiKey(revoke)).key
        assert revoked.HasField("revoke_time")
        assert (await tenancy.keys.RevokeApiKey(revoke)).key == revoked
        with pytest.raises(Unauthenticated):
            await tenancy.authenticate(made.secret)
        assert (await tenancy.keys.ListApiKeys(pb.ListApiKeysRequest())).keys[0] == revoked


async def test_a_key_ends_when_it_was_told_to(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    end = Timestamp()
    end.FromNanoseconds(time.time_ns() + 1_500_000_000)
    _, secret = await tenancy.key("acme", scopes=["generate"], expire_time=end)
    answer = await tenancy.authenticate(secret)
    assert answer.expire_time.seconds <= end.seconds

    async def refused() -> bool:
        try:
            await tenancy.authenticate(secret)
        except Unauthenticated:
            return True
        return False

    await until(refused)
    assert time.time_ns() >= end.ToNanoseconds()


async def test_a_rotated_key_works_beside_its_follower_until_the_overlap_ends(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    end = Timestamp(seconds=int(time.time()) + 40 * 86_400)
    restricted: dict[str, Any] = {"models": ["small"], "collections": ["faq"], "networks": ["192.0.2.0/24"]}
    old_id, old = await tenancy.key("acme", scopes=SERVICE_SCOPES, expire_time=end, display_name="shop", **restricted)
    _, admin = await tenancy.key("acme")
    async with tenancy.as_holder(admin):
        made = await tenancy.keys.RotateApiKey(pb.RotateApiKeyRequest(key_id=old_id))
        listed = {key.key_id: key for key in (await tenancy.keys.ListApiKeys(pb.ListApiKeysRequest())).keys}
    assert listed[old_id] == made.replaced and listed[made.key.key_id] == made.key and made.secret != old
    assert (made.replaced.replaced_by, made.key.replaced_by) == (made.key.key_id, "")
    assert made.key.expire_time == end and made.key.display_name == "shop"
    for field, value in {"scopes": SERVICE_SCOPES, **restricted}.items():
        assert list(getattr(made.key, field)) == value
    day = made.replaced.expire_time.seconds - time.time()
    assert 86_000 < day <= 86_400, "a day, unless another overlap is named"
    for secret in (old, made.secret):
        assert (await tenancy.authenticate(secret, "192.0.2.7")).tenant == "acme"
    async with tenancy.as_holder(admin):
        with pytest.raises(FailedPrecondition) as refused:
            await tenancy.keys.RotateApiKey(pb.RotateApiKeyRequest(key_id=old_id))
        assert refused.value.reason is Reason.KEY_NOT_CURRENT
        assert refused.value.metadata == {"replaced_by": made.key.key_id} and made.key.key_id in refused.value.message
        events = (await tenancy.audit.ListAuditEvents(audit_pb.ListAuditEventsRequest())).events
    noted = {(one.action, one.subject, one.outcome) for one in events}
    assert {("RotateApiKey", old_id, "OK"), ("CreateApiKey", made.key.key_id, "OK")} <= noted


async def test_a_key_rotated_without_an_overlap_is_refused_at_once_and_one_that_ended_can_not_be(
    tenancy: World,
) -> None:
    await tenancy.tenant("acme", "acme-org")
    old_id, old = await tenancy.key("acme", scopes=["generate"])
    await tenancy.authenticate(old)
    async with tenancy.as_holder(tenancy.operator):
        request = pb.RotateApiKeyRequest(tenant="acme", key_id=old_id, overlap=Duration())
        made = await tenancy.keys.RotateApiKey(request)
        assert made.replaced.HasField("revoke_time")
        with pytest.raises(Unauthenticated):
            await tenancy.authenticate(old)
        await tenancy.authenticate(made.secret)
        await tenancy.keys.RevokeApiKey(pb.RevokeApiKeyRequest(tenant="acme", key_id=made.key.key_id))
        with pytest.raises(FailedPrecondition) as refused:
            await tenancy.keys.RotateApiKey(pb.RotateApiKeyRequest(tenant="acme", key_id=made.key.key_id))
        assert refused.value.reason is Reason.KEY_NOT_CURRENT and not refused.value.metadata
        for overlap in (Duration(seconds=-1), Duration(seconds=30 * 86_400 + 1)):
            with pytest.raises(InvalidArgument) as wrong:
                await tenancy.keys.RotateApiKey(pb.RotateApiKeyRequest(key_id=old_id, overlap=overlap))
            assert wrong.value.violations[0][0] == "overlap"


async def test_a_key_may_be_used_from_its_networks_alone(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    networks = ["192.0.2.0/24", "2001:db8::/32"]
    _, secret = await tenancy.key("acme", scopes=["generate"], networks=networks)
    for _ in range(2):  # looked up, and remembered
        for inside in ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"):
            assert (await tenancy.authenticate(secret, inside)).tenant == "acme"
        for outside in ("", "192.0.3.1", "2001:db9::1", "127.0.0.1"):
            with pytest.raises(PermissionDenied) as refused:
                await tenancy.authenticate(secret, outside)
            assert refused.value.reason is Reason.NETWORK_DENIED
    with pytest.raises(InvalidArgument):
        await tenancy.authenticate(secret, "192.0.2.1, 127.0.0.1")


async def test_an_operators_key_is_an_operators(tenancy: World) -> None:
    _, secret = await tenancy.key(scopes=["tenants.read", "keys.write"])
    answer = await tenancy.authenticate(secret)
    caller = await tenancy.caller(answer.assertion)
    assert (answer.tenant, caller.tenant, caller.organisation) == ("", "", "")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CreateApiKeyRequest(tenant="acme"), "scopes"),
        (pb.CreateApiKeyRequest(tenant="acme", scopes=["everything"]), "scopes[0]"),
        (pb.CreateApiKeyRequest(tenant="acme", scopes=["generate"], models=["A"]), "models[0]"),
        (pb.CreateApiKeyRequest(tenant="acme", scopes=["generate"], collections=["_"]), "collections[0]"),
        (pb.CreateApiKeyRequest(tenant="acme", scopes=["generate"], expire_time=Timestamp(seconds=1)), "expire_time"),
        (pb.CreateApiKeyRequest(tenant="acme", organisation="acme-org", scopes=["generate"]), "organisation"),
        (pb.CreateApiKeyRequest(tenant="acme:x", scopes=["generate"]), "tenant"),
        (pb.CreateApiKeyRequest(tenant="acme", scopes=["generate"], display_name="x" * 201), "display_name"),
        (pb.CreateApiKeyRequest(tenant="acme", scopes=["generate"], networks=["192.0.2.1"]), "networks[0]"),
        (pb.RotateApiKeyRequest(key_id="op_x"), "key_id"),
        (pb.RevokeApiKeyRequest(), "key_id"),
        (pb.RevokeApiKeyRequest(key_id="key_x"), "key_id"),
    ],
)
async def test_a_wrong_field_is_named(tenancy: World, request_: object, field: str) -> None:
    await tenancy.organisation("acme-org")
    method = type(request_).__name__.removesuffix("Request")
    async with tenancy.as_holder(tenancy.operator):
        with pytest.raises(InvalidArgument) as refused:
            await getattr(tenancy.keys, method)(request_)
    assert refused.value.violations[0][0] == field


async def test_what_administrators_did_is_in_the_tenants_audit_log_unbroken(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    admin_id, admin = await tenancy.key("acme")
    async with tenancy.as_holder(admin):
        made = await tenancy.keys.CreateApiKey(pb.CreateApiKeyRequest(scopes=["generate"]))
        await tenancy.keys.RevokeApiKey(pb.RevokeApiKeyRequest(key_id=made.key.key_id))
        for _ in range(3):
            with pytest.raises(PermissionDenied):
                await tenancy.keys.CreateApiKey(pb.CreateApiKeyRequest(scopes=["limits.write"]))
            with pytest.raises(NotFound):
                await tenancy.keys.ListApiKeys(pb.ListApiKeysRequest(tenant="globex"))

        async def events() -> list[audit_pb.AuditEvent]:
            return list((await tenancy.audit.ListAuditEvents(audit_pb.ListAuditEventsRequest())).events)

        async def refusals_are_there() -> bool:
            return {"PERMISSION_DENIED", "NOT_FOUND"} <= {event.outcome for event in await events()}

        await until(refusals_are_there)
        log = list(reversed(await events()))
    assert [event.number for event in log] == list(range(1, len(log) + 1))
    assert [(event.action, event.outcome) for event in log[:5]] == [
        ("CreateTenant", "OK"),
        ("TenantCreated", "OK"),
        ("CreateApiKey", "OK"),
        ("CreateApiKey", "OK"),
        ("RevokeApiKey", "OK"),
    ]
    assert (log[2].subject, log[3].principal, log[4].subject) == (admin_id, admin_id, made.key.key_id)
    refused = {(event.action, event.subject, event.outcome) for event in log[5:]}
    assert refused == {("CreateApiKey", "", "PERMISSION_DENIED"), ("ListApiKeys", "globex", "NOT_FOUND")}
    assert audit_chain.first_broken("tenant:acme", [_event(event) for event in log]) is None


def _event(event: audit_pb.AuditEvent) -> AuditEvent:
    entry = AuditEntry(
        event.time.ToNanoseconds(),
        event.principal,
        event.action,
        event.subject,
        event.outcome,
        event.service,
        event.reason,
        event.count,
    )
    return AuditEvent(event.number, entry, event.hash)
