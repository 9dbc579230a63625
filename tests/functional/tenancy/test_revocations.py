"""Suspending, resuming and changing keys, and what the services of the mesh are told of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as pb
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.kit.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    TenantryError,
    Unauthenticated,
)
from tenantry.tenancy.roles import ORGANISATION_ADMIN, ROLES
from tests.functional.tenancy.world import SERVICE_SCOPES, World
from tests.harness.poll import until

SUSPENDED, ACTIVE = tenant_pb2.TENANT_STATE_SUSPENDED, tenant_pb2.TENANT_STATE_ACTIVE


class Watcher:
    """A service that watches: what it was told, and its stream to ping with."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.told: list[identity_pb.Revocation] = []
        self.pong = 0

    async def ping(self, number: int) -> None:
        """Returns when the ping was answered."""
        await self.stream.write(identity_pb.WatchRevocationsRequest(ping=number))
        await self.hear(lambda: self.pong >= number)

    async def hear(self, enough: Any) -> None:
        """Reads until it is enough."""
        async with asyncio.timeout(5):
            while not enough():
                answer = await self.stream.read()
                assert answer is not aio.EOF
                self.told += answer.revocations
                self.pong = max(self.pong, answer.pong)

    def subjects(self) -> list[tuple[str, int]]:
        """Whom it was told of, with the generations."""
        return [(one.key_id or one.tenant, one.generation) for one in self.told]


@asynccontextmanager
async def watching(tenancy: World, service: str = "models") -> AsyncIterator[Watcher]:
    stream = IdentityServiceStub(tenancy.channel(service)).WatchRevocations()
    try:
        yield Watcher(stream)
    finally:
        stream.cancel()


async def suspend(tenancy: World, tenant: str = "acme") -> Any:
    async with tenancy.as_holder(tenancy.operator):
        return (await tenancy.tenants.SuspendTenant(pb.SuspendTenantRequest(tenant=tenant))).tenant


async def resume(tenancy: World, tenant: str = "acme") -> Any:
    async with tenancy.as_holder(tenancy.operator):
        return (await tenancy.tenants.ResumeTenant(pb.ResumeTenantRequest(tenant=tenant))).tenant


async def update(tenancy: World, key_id: str, version: int, secret: str = "", **grant: Any) -> Any:
    request = key_pb.UpdateApiKeyRequest(key_id=key_id, version=version, **grant)
    async with tenancy.as_holder(secret or tenancy.operator):
        return (await tenancy.keys.UpdateApiKey(request)).key


async def test_a_suspended_tenant_is_refused_until_it_is_resumed(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    _, secret = await tenancy.key("acme")
    first = await suspend(tenancy)
    assert first.state == SUSPENDED and await suspend(tenancy) == first, "twice is as once"
    with pytest.raises(FailedPrecondition) as refused:
        await tenancy.authenticate(secret)
    assert refused.value.metadata == {"state": "SUSPENDED"}
    resumed = await resume(tenancy)
    assert (resumed.state, resumed.version) == (ACTIVE, first.version + 1) and await resume(tenancy) == resumed
    assert (await tenancy.authenticate(secret)).tenant == "acme"


async def test_a_tenant_that_is_made_or_deleted_is_neither_suspended_nor_resumed(tenancy: World) -> None:
    await tenancy.organisation("acme-org")
    tenancy.town.held["models"] = asyncio.Event()
    async with tenancy.as_holder(tenancy.operator):
        request = pb.CreateTenantRequest(tenant="acme", organisation="acme-org", tier=tenant_pb2.TIER_PRO)
        made = await tenancy.tenants.CreateTenant(request)
    for act in (suspend, resume):
        with pytest.raises(FailedPrecondition) as refused:
            await act(tenancy)
        assert refused.value.metadata == {"state": "CREATING"}
    tenancy.town.held.pop("models").set()
    async with tenancy.as_holder(tenancy.operator):
        await tenancy.ended(made.operation.operation)
    await suspend(tenancy)
    async with tenancy.as_holder(tenancy.operator):
        deleted = await tenancy.tenants.DeleteTenant(pb.DeleteTenantRequest(tenant="acme"))
        await tenancy.ended(deleted.operation.operation)
    for act in (suspend, resume):
        with pytest.raises(FailedPrecondition) as refused:
            await act(tenancy)
        assert refused.value.metadata == {"state": "DELETED"}


async def test_only_an_organisations_admin_and_operators_suspend(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    await tenancy.tenant("globex", "globex-org")
    _, own = await tenancy.key("acme", scopes=["tenants.write"])
    _, admin = await tenancy.key(organisation="acme-org", scopes=ROLES[ORGANISATION_ADMIN])
    _, other = await tenancy.key(organisation="globex-org", scopes=ROLES[ORGANISATION_ADMIN])
    expected: list[tuple[str, type[TenantryError]]] = [(own, PermissionDenied), (other, NotFound)]
    for secret, kind in expected:
        async with tenancy.as_holder(secret):
            for act, request in (
                (tenancy.tenants.SuspendTenant, pb.SuspendTenantRequest(tenant="acme")),
                (tenancy.tenants.ResumeTenant, pb.ResumeTenantRequest(tenant="acme")),
            ):
                with pytest.raises(kind):
                    await act(request)
    async with tenancy.as_holder(admin):
        await tenancy.tenants.SuspendTenant(pb.SuspendTenantRequest(tenant="acme"))


async def test_a_watcher_is_told_all_that_matters_then_what_comes_at_once(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    key_id, _ = await tenancy.key("acme")
    await suspend(tenancy)
    async with watching(tenancy) as first:
        await first.ping(1)
        assert [(one.tenant, one.generation, one.state) for one in first.told] == [("acme", 3, SUSPENDED)]
        await resume(tenancy)
        async with tenancy.as_holder(tenancy.operator):
            await tenancy.keys.RevokeApiKey(key_pb.RevokeApiKeyRequest(key_id=key_id))
        await first.hear(lambda: len(first.told) == 2)
        assert first.subjects() == [("acme", 3), (key_id, 2)]
        numbers = [one.number for one in first.told]
        assert numbers == sorted(set(numbers))
        async with watching(tenancy, "gateway") as second:
            await second.ping(1)
            assert second.told == first.told, "the same, to whoever comes when"


async def test_a_ping_is_answered_though_nothing_happens(tenancy: World) -> None:
    async with watching(tenancy) as watcher:
        for number in (7, 8, 10**18):
            await watcher.ping(number)
        assert watcher.pong == 10**18 and not watcher.told


async def test_a_deleted_tenant_is_told_of_once_for_all_its_keys(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    for _ in range(3):
        await tenancy.key("acme")
    async with tenancy.as_holder(tenancy.operator):
        deleted = await tenancy.tenants.DeleteTenant(pb.DeleteTenantRequest(tenant="acme"))
        await tenancy.ended(deleted.operation.operation)
    async with watching(tenancy) as watcher:
        await watcher.ping(1)
        (told,) = watcher.told
        assert (told.tenant, told.state) == ("acme", tenant_pb2.TENANT_STATE_DELETED)


async def test_a_key_that_loses_something_is_told_of_and_one_that_gains_is_not(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    key_id, secret = await tenancy.key("acme", scopes=["generate", "documents.read"], models=["small"])
    gained = await update(tenancy, key_id, 1, scopes=["generate", "documents.read"], models=["large", "small"])
    assert (gained.version, list(gained.models)) == (2, ["large", "small"])
    lost = await update(tenancy, key_id, 2, scopes=["generate"], models=["large"])
    assert (lost.version, list(lost.scopes)) == (3, ["generate"])
    async with watching(tenancy) as watcher:
        await watcher.ping(1)
        assert watcher.subjects() == [(key_id, 2)]
    caller = await tenancy.caller((await tenancy.authenticate(secret)).assertion)
    assert (caller.key_generation, caller.scopes, caller.models) == (2, {"generate"}, ("large",))


async def test_a_keys_end_may_be_moved_and_lifted(tenancy: World) -> None:
    key_id, _ = await tenancy.key(scopes=["tenants.read"])
    end = Timestamp(seconds=4_000_000_000)
    assert (await update(tenancy, key_id, 1, scopes=["tenants.read"], expire_time=end)).expire_time == end
    assert not (await update(tenancy, key_id, 2, scopes=["tenants.read"])).HasField("expire_time")


async def test_a_change_names_the_version_that_was_read(tenancy: World) -> None:
    key_id, _ = await tenancy.key(scopes=["tenants.read", "keys.read"])
    await update(tenancy, key_id, 1, scopes=["tenants.read"])
    with pytest.raises(Aborted) as refused:
        await update(tenancy, key_id, 1, scopes=["keys.read"])
    assert refused.value.metadata == {"version": "2"}


async def test_a_revoked_key_stays_as_it_was(tenancy: World) -> None:
    key_id, _ = await tenancy.key(scopes=["tenants.read"])
    async with tenancy.as_holder(tenancy.operator):
        revoked = (await tenancy.keys.RevokeApiKey(key_pb.RevokeApiKeyRequest(key_id=key_id))).key
    with pytest.raises(InvalidArgument) as refused:
        await update(tenancy, key_id, revoked.version, scopes=["tenants.read", "keys.read"])
    assert refused.value.violations[0][0] == "key_id"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"version": 0, "scopes": ["generate"]}, "version"),
        ({"key_id": "", "scopes": ["generate"]}, "key_id"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes[0]"),
        ({"scopes": ["generate"], "expire_time": Timestamp(seconds=1)}, "expire_time"),
    ],
)
async def test_a_wrong_field_of_a_change_is_named(tenancy: World, wrong: dict[str, Any], field: str) -> None:
    key_id, _ = await tenancy.key(scopes=["generate"])
    with pytest.raises(InvalidArgument) as refused:
        await update(tenancy, **{"key_id": key_id, "version": 1, **wrong})
    assert refused.value.violations[0][0] == field


async def test_what_was_done_is_in_the_tenants_audit_log(tenancy: World) -> None:
    from tenantry.api.tenancy.v1 import audit_service_pb2 as audit_pb

    await tenancy.tenant("acme", "acme-org")
    key_id, _ = await tenancy.key("acme", scopes=SERVICE_SCOPES)
    await suspend(tenancy)
    await suspend(tenancy)
    await resume(tenancy)
    await update(tenancy, key_id, 1, scopes=["generate"])
    async with tenancy.as_holder(tenancy.operator):
        request = audit_pb.ListAuditEventsRequest(tenant="acme")
        events = (await tenancy.audit.ListAuditEvents(request)).events
    done = [(event.action, event.subject) for event in events[:3]]
    assert done == [("UpdateApiKey", key_id), ("ResumeTenant", "acme"), ("SuspendTenant", "acme")]


async def test_an_assertion_from_before_is_worth_nothing_at_tenancy_itself(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    key_id, secret = await tenancy.key("acme")
    before = await tenancy.call_of(secret)
    await update(tenancy, key_id, 1, scopes=["generate", "keys.read"])

    async def refused() -> bool:
        with tenancy.as_caller(before):
            try:
                await tenancy.keys.ListApiKeys(key_pb.ListApiKeysRequest())
            except Unauthenticated:
                return True
        return False

    await until(refused)
    async with tenancy.as_holder(secret):
        await tenancy.keys.ListApiKeys(key_pb.ListApiKeysRequest())
