"""What every store of tenancy promises."""

import asyncio
from dataclasses import replace

import pytest

from tenantry.kit import changes, owner
from tenantry.kit.errors import Conflict
from tenantry.kit.ids import new_id
from tenantry.kit.sql import Database
from tenantry.tenancy import audit_chain, saga
from tenantry.tenancy.issuer_url import issuer_id
from tenantry.tenancy.paging import Page
from tenantry.tenancy.records import (
    ApiKey,
    AuditEntry,
    Issuer,
    Operation,
    OperationKind,
    Organisation,
    Progress,
    SigningKey,
    Tenant,
    TenantState,
    Tier,
)
from tenantry.tenancy.store import PLATFORM, Store
from tenantry.tenancy.store_sql import SqlStore

ORG = owner.Organisation("acme-org")
ACME = owner.Tenant("acme-org", "acme")
LATER = 2**60


def _tenant(tenant_id: str = "acme", organisation: str = "acme-org") -> Tenant:
    return Tenant(tenant_id, organisation, "Acme", Tier.PRO, TenantState.CREATING, "op_1", 5)


def _key(tenant: str = "acme", organisation: str = "acme-org", **more: object) -> ApiKey:
    key = ApiKey(
        id=new_id("key"),
        tenant=tenant,
        organisation=organisation,
        display_name="for tests",
        scopes=("documents.read", "generate"),
        models=("small",),
        collections=("faq",),
        digest=bytes(range(32)),
        created_ns=5,
    )
    return replace(key, **more)


async def _with_acme(store: Store) -> None:
    async with store.write() as tx:
        await tx.organisations.insert(ORG, Organisation("acme-org", "Acme", 5))
        await tx.tenants.insert(ACME, _tenant())


async def test_an_organisation_is_read_back_and_its_id_is_taken(store: SqlStore) -> None:
    await _with_acme(store)
    async with store.read() as tx:
        assert await tx.organisations.get(ORG) == Organisation("acme-org", "Acme", 5)
        assert await tx.organisations.get(owner.Organisation("other")) is None
    with pytest.raises(Conflict):
        async with store.write() as tx:
            await tx.organisations.insert(ORG, Organisation("acme-org", "Acme again", 6))


async def test_a_tenants_state_raises_its_version_and_generation(store: SqlStore) -> None:
    await _with_acme(store)
    async with store.write() as tx:
        assert await tx.tenants.lock(ACME) == _tenant()
        await tx.tenants.set_state(ACME, TenantState.ACTIVE, "op_2")
    async with store.read() as tx:
        expected = replace(_tenant(), state=TenantState.ACTIVE, operation="op_2", version=2, generation=2)
        assert await tx.tenants.get(owner.Tenant("", "acme")) == expected
        assert await tx.tenants.get(owner.Tenant("", "other")) is None


async def test_the_id_of_a_deleted_tenant_stays_taken_and_out_of_lists(store: SqlStore) -> None:
    await _with_acme(store)
    async with store.write() as tx:
        await tx.tenants.set_state(ACME, TenantState.DELETED, "op_2")
        await tx.tenants.forget_name(ACME)
    async with store.read() as tx:
        assert await tx.tenants.list(PLATFORM, Page()) == ()
        gone = await tx.tenants.get(ACME)
        assert gone is not None and gone.display_name == "acme"
    with pytest.raises(Conflict):
        async with store.write() as tx:
            await tx.tenants.insert(owner.Tenant("acme-org", "acme"), _tenant())


async def test_lists_are_an_owners_own_and_come_in_pages(store: SqlStore) -> None:
    async with store.write() as tx:
        for organisation in ("acme-org", "globex-org"):
            await tx.organisations.insert(owner.Organisation(organisation), Organisation(organisation, "", 5))
            for number in range(3):
                whose = owner.Tenant(organisation, f"{organisation}-{number}")
                await tx.tenants.insert(whose, _tenant(whose.id, organisation))
    async with store.read() as tx:
        assert [one.id for one in await tx.tenants.list(ORG, Page(2))] == [f"acme-org-{n}" for n in range(3)]
        rest = await tx.tenants.list(PLATFORM, Page(10, "acme-org-1"))
        assert [one.id for one in rest] == ["acme-org-2", *(f"globex-org-{n}" for n in range(3))]
        own = await tx.tenants.list(owner.Tenant("acme-org", "acme-org-1"), Page())
        assert [one.id for one in own] == ["acme-org-1"]
        assert [one.id for one in await tx.organisations.list(ORG, Page())] == ["acme-org"]
        assert [one.id for one in await tx.organisations.list(PLATFORM, Page(10, "acme-org"))] == ["globex-org"]


async def test_a_key_is_read_back_by_its_id_and_listed_for_its_owner_alone(store: SqlStore) -> None:
    ours, orgs, operators = _key(expires_ns=LATER), _key("", "acme-org"), _key("", "")
    async with store.write() as tx:
        await tx.keys.insert(ACME, ours)
        await tx.keys.insert(ORG, orgs)
        await tx.keys.insert(PLATFORM, operators)
    async with store.read() as tx:
        assert await tx.keys.find(PLATFORM, ours.id) == ours
        assert await tx.keys.find(PLATFORM, new_id("key")) is None
        assert await tx.keys.list(ACME, Page(), 0) == (ours,)
        assert await tx.keys.list(ORG, Page(), 0) == (orgs,)
        assert await tx.keys.list(PLATFORM, Page(), 0) == (operators,)
        assert await tx.keys.list(owner.Tenant("globex-org", "acme"), Page(), 0) == ()


async def test_keys_are_listed_newest_first_and_revoked_ones_for_a_while(store: SqlStore) -> None:
    keys = [replace(_key(), id=f"key_{number:026}") for number in range(4)]
    async with store.write() as tx:
        for key in keys:
            await tx.keys.insert(ACME, key)
        await tx.keys.revoke(ACME, keys[1].id, 100)
    async with store.read() as tx:
        assert [key.id for key in await tx.keys.list(ACME, Page(2), 0)] == [keys[n].id for n in (3, 2, 1)]
        assert [key.id for key in await tx.keys.list(ACME, Page(2, keys[2].id), 0)] == [keys[1].id, keys[0].id]
        assert [key.id for key in await tx.keys.list(ACME, Page(), 101)] == [keys[n].id for n in (3, 2, 0)]
        assert await tx.keys.count(ACME, LATER) == 3
    async with store.write() as tx:
        assert await tx.keys.sweep(PLATFORM, 100) == 0
        assert await tx.keys.sweep(PLATFORM, 101) == 1


async def test_a_key_is_revoked_once_and_only_by_its_owner(store: SqlStore) -> None:
    key = _key()
    async with store.write() as tx:
        await tx.keys.insert(ACME, key)
    for whose, now_ns in ((owner.Tenant("globex-org", "globex"), 50), (ACME, 100), (ACME, 200)):
        async with store.write() as tx:
            await tx.keys.revoke(whose, key.id, now_ns)
    async with store.read() as tx:
        assert await tx.keys.find(PLATFORM, key.id) == replace(key, revoked_ns=100, generation=2, version=2)


async def test_all_keys_of_a_tenant_are_revoked_and_no_others(store: SqlStore) -> None:
    ours, theirs = [_key(), _key(revoked_ns=1)], _key("globex", "globex-org")
    async with store.write() as tx:
        for key in ours:
            await tx.keys.insert(ACME, key)
        await tx.keys.insert(owner.Tenant("globex-org", "globex"), theirs)
        assert await tx.keys.revoke_all(ACME, 100) == 1
    async with store.read() as tx:
        found = [await tx.keys.find(PLATFORM, key.id) for key in (*ours, theirs)]
    assert [key.revoked_ns for key in found if key] == [100, 1, None]


async def test_changes_of_tenants_and_keys_enter_the_change_log_and_refused_ones_do_not(
    store: SqlStore, database: Database
) -> None:
    await _with_acme(store)
    key = _key()
    async with store.write() as tx:
        await tx.keys.insert(ACME, key)
        await tx.tenants.set_state(ACME, TenantState.ACTIVE, "op_1")
    with pytest.raises(RuntimeError):
        async with store.write() as tx:
            await tx.keys.revoke(ACME, key.id, 100)
            raise RuntimeError
    async with database.read() as connection:
        _, found = await changes.read(connection, 0)
    entries = [(change.kind, change.key) for change in found or ()]
    assert entries == [("tenant", "acme"), ("api-key", key.id), ("tenant", "acme")]


def _operation(kind: OperationKind = OperationKind.CREATE_TENANT) -> Operation:
    operation_id = new_id("op")
    return Operation(operation_id, kind, "acme", "acme-org", Tier.PRO, Progress.PENDING, saga.steps_of(kind), 5)


async def test_an_operation_is_read_back_with_its_steps_in_order(store: SqlStore) -> None:
    await _with_acme(store)
    operation = _operation()
    step = replace(operation.steps[2], state=Progress.DONE, attempts=2, did="made it", error="", due_ns=7)
    async with store.write() as tx:
        await tx.operations.insert(ACME, operation)
    async with store.read() as tx:
        assert await tx.operations.get(PLATFORM, operation.id) == operation
    async with store.write() as tx:
        await tx.operations.save_step(ACME, operation.id, step)
        await tx.operations.end(ACME, operation.id, 9)
    steps = (*operation.steps[:2], step, *operation.steps[3:])
    async with store.read() as tx:
        expected = replace(operation, state=Progress.DONE, steps=steps, ended_ns=9, version=3)
        assert await tx.operations.get(PLATFORM, operation.id) == expected


async def test_an_operation_waits_until_a_step_is_due_and_the_one_before_has_ended(store: SqlStore) -> None:
    await _with_acme(store)
    first, second = replace(_operation(), id="op_1"), replace(_operation(OperationKind.DELETE_TENANT), id="op_2")
    async with store.write() as tx:
        await tx.operations.insert(ACME, first)
        await tx.operations.insert(ACME, second)
        assert await tx.operations.waiting(PLATFORM, 10, 5) == ("op_1",)
        for step in first.steps:
            await tx.operations.save_step(ACME, "op_1", replace(step, due_ns=20))
        assert await tx.operations.waiting(PLATFORM, 10, 5) == ()
        assert await tx.operations.waiting(PLATFORM, 20, 5) == ("op_1",)
        for step in first.steps:
            await tx.operations.save_step(ACME, "op_1", replace(step, state=Progress.DONE))
        assert await tx.operations.waiting(PLATFORM, 10, 5) == ("op_1",), "it still has to be ended"
        await tx.operations.end(ACME, "op_1", 30)
        assert await tx.operations.waiting(PLATFORM, 10, 5) == ("op_2",)


async def test_an_operation_belongs_to_one_worker_at_a_time(store: SqlStore) -> None:
    async def claim(worker: str, seconds: float = 60.0) -> bool:
        async with store.write() as tx:
            return await tx.operations.claim(PLATFORM, "op_1", worker, seconds)

    assert sorted(await asyncio.gather(*(claim(f"worker-{n}") for n in range(4)))) == [False, False, False, True]
    assert [await claim(f"worker-{n}", 0.0) for n in range(4)].count(True) >= 1, "its holder may claim it again"
    async with store.write() as tx:
        assert not await tx.operations.renew(PLATFORM, "op_1", "worker-9", 60.0)
        assert await tx.operations.claim(PLATFORM, "op_1", "worker-9", 60.0), "the claim had ended"
        assert await tx.operations.renew(PLATFORM, "op_1", "worker-9", 60.0)
        await tx.operations.release(PLATFORM, "op_1", "worker-9")
        assert not await tx.operations.renew(PLATFORM, "op_1", "worker-9", 60.0)


async def test_audit_numbers_have_no_gaps_however_many_write_at_once(store: SqlStore) -> None:
    async def append(number: int) -> None:
        async with store.write() as tx:
            await tx.audit.append(ACME, AuditEntry(number, "key_1", "CreateApiKey", f"key_{number}"))

    async def fail(number: int) -> None:
        with pytest.raises(RuntimeError):
            async with store.write() as tx:
                await tx.audit.append(ACME, AuditEntry(number, "key_1", "CreateApiKey", "refused"))
                raise RuntimeError

    await asyncio.gather(*(fail(n) if n % 3 == 0 else append(n) for n in range(12)))
    async with store.read() as tx:
        events = await tx.audit.list(ACME, None, 100)
        assert [event.number for event in events] == list(range(8, 0, -1))
        assert audit_chain.first_broken("tenant:acme", reversed(events)) is None
        assert [event.number for event in await tx.audit.list(ACME, 4, 2)] == [3, 2]
        assert await tx.audit.list(ORG, None, 100) == await tx.audit.list(PLATFORM, None, 100) == ()


async def test_each_owner_has_an_audit_log_of_its_own(store: SqlStore) -> None:
    owners = (ACME, owner.Organisation("acme"), PLATFORM)
    async with store.write() as tx:
        for whose in owners:
            assert (await tx.audit.append(whose, AuditEntry(1, "key_1", "CreateApiKey", "key_2"))).number == 1
    async with store.read() as tx:
        hashes = {(await tx.audit.list(whose, None, 1))[0].hash for whose in owners}
    assert len(hashes) == 3


async def test_signing_keys_that_have_ended_are_left_out_and_the_newest_is_first(store: SqlStore) -> None:
    old = SigningKey("sig_1", b"p" * 32, b"s", 1, 50)
    new = SigningKey("sig_2", b"q" * 32, b"t", 40)
    async with store.write() as tx:
        await tx.signing_keys.insert(PLATFORM, old)
        await tx.signing_keys.insert(PLATFORM, new)
    async with store.read() as tx:
        assert await tx.signing_keys.list(PLATFORM, 45) == (new, old)
        assert await tx.signing_keys.list(PLATFORM, 50) == (new,)


def _issuer(tenant: str = "acme", organisation: str = "acme-org") -> Issuer:
    url = "https://login.example.com"
    scopes = ("generate",)
    return Issuer(issuer_id(url), tenant, organisation, url, "us", scopes, True, ("small",), ("faq",), ("::/0",), 5)


async def test_an_issuer_is_one_owners_and_its_generation_only_rises(store: SqlStore) -> None:
    other = owner.Tenant("other-org", "other")
    issuer = _issuer()
    async with store.write() as tx:
        assert await tx.issuers.register(ACME, issuer) == issuer
    for whose in (ACME, other):
        with pytest.raises(Conflict):
            async with store.write() as tx:
                await tx.issuers.register(whose, issuer)
    async with store.write() as tx:
        await tx.issuers.remove(other, issuer.id, 9)
        assert await tx.issuers.find(PLATFORM, issuer.id) == issuer
        await tx.issuers.remove(ACME, issuer.id, 9)
        await tx.issuers.remove(ACME, issuer.id, 10)
        assert await tx.issuers.find(PLATFORM, issuer.id) == replace(issuer, removed_ns=9, generation=2)
        assert await tx.issuers.count(ACME, 2**62) == 0 and not await tx.issuers.list(ACME, Page())
    async with store.write() as tx:
        again = await tx.issuers.register(other, issuer)
    assert again == replace(issuer, tenant="other", organisation="other-org", generation=3)
    async with store.write() as tx:
        assert await tx.issuers.list(other, Page()) == (again,) and await tx.issuers.count(other, 2**62) == 1
        await tx.issuers.remove_all(other, 11)
        assert not await tx.issuers.list(other, Page())


async def test_the_last_use_of_keys_is_the_latest_that_anybody_saw(store: SqlStore, database: Database) -> None:
    key, unused = _key(), _key()
    async with store.write() as tx:
        for one in (key, unused):
            await tx.keys.insert(ACME, one)
    async with database.read() as connection:
        before, _ = await changes.read(connection, 0)
    for used_ns in (7, 9, 8):
        async with store.write() as tx:
            await tx.keys.used(PLATFORM, [(key.id, used_ns), ("key_gone", used_ns)])
    async with store.read() as tx:
        found = {one.id: one.last_used_ns for one in await tx.keys.list(ACME, Page(), 0)}
    assert found == {key.id: 9, unused.id: None}
    async with database.read() as connection:
        assert (await changes.read(connection, 0))[0] == before, "a use is no change that memories must hear of"


async def test_a_replaced_key_has_an_end_and_its_follower_and_goes_with_time(store: SqlStore) -> None:
    key = _key()
    async with store.write() as tx:
        await tx.keys.insert(ACME, key)
        assert await tx.keys.lock(PLATFORM, key.id) == key
        await tx.keys.replace(ACME, key.id, "key_new", 50)
        assert await tx.keys.find(PLATFORM, key.id) == replace(key, replaced_by="key_new", expires_ns=50, version=2)
        assert (await tx.keys.count(ACME, 49), await tx.keys.count(ACME, 51)) == (1, 0)
        assert await tx.keys.list(ACME, Page(), 50) and not await tx.keys.list(ACME, Page(), 51)
        assert (await tx.keys.sweep(PLATFORM, 50), await tx.keys.sweep(PLATFORM, 51)) == (0, 1)
