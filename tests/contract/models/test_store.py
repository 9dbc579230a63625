"""What every ModelStore does, on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tenantry.kit.errors import Aborted, AlreadyExists, FailedPrecondition, ResourceExhausted
from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.sql import Database, migrate
from tenantry.models import store_sql
from tenantry.models.model import Model, Owner, Policy, Provider, tenant_of
from tenantry.models.store_sql import SqlModelStore

ACME = Tenant("acme-org", "acme")
GLOBEX = Tenant("globex-org", "globex")
ALL = Platform()
POLICY = Policy((Provider.OPENAI,), ("gpt",), ("old",), ("eu",), "gpt", ("extractive",))
ACCOUNT = (Provider.OPENAI, "https://llm.example.com/v1")


@pytest.fixture
async def store(sql_url: str) -> AsyncIterator[SqlModelStore]:
    database = Database(sql_url, "models")
    await migrate(database, "tenantry.models.migrations")
    store = SqlModelStore(database)
    for tenant in (ACME, GLOBEX):
        assert await store.add_tenant(tenant, "pro")
    yield store
    await database.close()


def model_of(owner: Owner, name: str = "gpt") -> Model:
    tenant = tenant_of(owner)
    return Model(name, Provider.OPENAI, "gpt-9", tenant, "https://llm.example.com/v1", "eu", 10**12, 2, 300, not tenant)


async def test_a_registered_model_is_its_owners_alone(store: SqlModelStore) -> None:
    await store.register(ACME, model_of(ACME))
    assert dict((await store.load(ACME)).models) == {"gpt": model_of(ACME)}
    assert not (await store.load(GLOBEX)).models
    assert not (await store.load(ALL)).models
    assert await store.providers() == {Provider.OPENAI}


async def test_two_tenants_may_have_a_model_of_the_same_id(store: SqlModelStore) -> None:
    await store.register(ACME, model_of(ACME))
    await store.register(GLOBEX, model_of(GLOBEX))
    assert await store.deregister(ACME, "gpt")
    assert not await store.deregister(ACME, "gpt")
    assert "gpt" in (await store.load(GLOBEX)).models


async def test_the_same_registration_again_changes_nothing_and_another_is_refused(store: SqlModelStore) -> None:
    for owner in (ACME, ALL):
        await store.register(owner, model_of(owner, f"m-{tenant_of(owner)}"))
        await store.register(owner, model_of(owner, f"m-{tenant_of(owner)}"))
        with pytest.raises(AlreadyExists):
            await store.register(owner, replace(model_of(owner, f"m-{tenant_of(owner)}"), region="us"))


@pytest.mark.parametrize(("first", "second"), [(ALL, ACME), (ACME, ALL)])
async def test_an_id_is_unique_among_what_a_tenant_can_reach(store: SqlModelStore, first: Owner, second: Owner) -> None:
    await store.register(first, model_of(first))
    with pytest.raises(AlreadyExists):
        await store.register(second, model_of(second))


async def test_of_a_tenants_and_the_platforms_registration_at_the_same_moment_one_wins(store: SqlModelStore) -> None:
    owners: list[Owner] = [ALL, ACME]
    for name in ("m1", "m2", "m3", "m4"):
        results = await asyncio.gather(
            *(store.register(owner, model_of(owner, name)) for owner in owners), return_exceptions=True
        )
        assert [type(one) for one in results if one is not None] == [AlreadyExists]


async def test_a_policy_is_replaced_by_who_read_its_version(store: SqlModelStore) -> None:
    assert (await store.load(ACME)).version == 0
    assert await store.put_policy(ACME, POLICY, 0) == 1
    held = await store.load(ACME)
    assert (held.policy, held.version) == (POLICY, 1)
    for version in (0, 2, 2**63 - 1):
        with pytest.raises(Aborted):
            await store.put_policy(ACME, Policy(), version)
    assert await store.put_policy(ACME, Policy(), 1) == 2
    assert (await store.load(GLOBEX)).policy == Policy()


@pytest.mark.parametrize("version", [0, 1])
async def test_of_many_writers_who_read_the_same_version_one_wins(store: SqlModelStore, version: int) -> None:
    if version:
        await store.put_policy(ACME, POLICY, 0)
    writes = [store.put_policy(ACME, Policy(preferred_model=f"m{n}"), version) for n in range(6)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in results) == 1
    assert all(isinstance(one, Aborted) for one in results if isinstance(one, BaseException))


async def test_a_credential_is_its_owners_for_one_address_and_can_be_replaced_and_removed(store: SqlModelStore) -> None:
    await store.put_credential(ACME, ACCOUNT, b"one")
    await store.put_credential(ACME, ACCOUNT, b"two")
    await store.put_credential(ALL, (Provider.OPENAI, ""), b"all")
    assert dict((await store.load(ACME)).credentials) == {ACCOUNT: b"two"}
    assert dict((await store.load(ALL)).credentials) == {(Provider.OPENAI, ""): b"all"}
    assert not (await store.load(GLOBEX)).credentials
    await store.put_credential(ACME, ACCOUNT, None)
    assert not (await store.load(ACME)).credentials


async def test_there_is_a_most_of_models_and_credentials(store: SqlModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_sql, "MAX_MODELS", 1)
    monkeypatch.setattr(store_sql, "MAX_CREDENTIALS", 1)
    await store.register(ACME, model_of(ACME))
    await store.put_credential(ACME, ACCOUNT, b"one")
    await store.put_credential(ACME, ACCOUNT, b"two")
    with pytest.raises(ResourceExhausted):
        await store.register(ACME, model_of(ACME, "other"))
    with pytest.raises(ResourceExhausted):
        await store.put_credential(ACME, (Provider.OPENAI, ""), b"x")
    await store.register(GLOBEX, model_of(GLOBEX))


async def test_a_removed_tenant_has_nothing_and_the_others_all(store: SqlModelStore) -> None:
    for tenant in (ACME, GLOBEX):
        await store.register(tenant, model_of(tenant))
        await store.put_policy(tenant, POLICY, 0)
        await store.put_credential(tenant, ACCOUNT, b"one")
    assert await store.remove_tenant(ACME) == 1
    assert await store.remove_tenant(ACME) is None
    for refused in (
        store.load(ACME),
        store.register(ACME, model_of(ACME)),
        store.deregister(ACME, "gpt"),
        store.put_policy(ACME, POLICY, 0),
        store.put_credential(ACME, ACCOUNT, b"x"),
    ):
        with pytest.raises(FailedPrecondition):
            await refused
    held = await store.load(GLOBEX)
    assert held.models and held.credentials and held.version == 1
    assert await store.add_tenant(ACME, "pro")
    again = await store.load(ACME)
    assert not again.models and not again.credentials and again.version == 0


async def test_adding_a_tenant_again_changes_nothing(store: SqlModelStore) -> None:
    assert not await store.add_tenant(ACME, "pro")
    assert await store.find_tenant("acme") == ACME
    assert await store.find_tenant("initech") is None
