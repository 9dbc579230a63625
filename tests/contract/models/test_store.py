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
from tenantry.models.store import ModelStore
from tenantry.models.store_sql import SqlModelStore

ACME = Tenant("acme-org", "acme")
GLOBEX = Tenant("globex-org", "globex")
PLATFORM = Platform()
ACCOUNT = (Provider.OPENAI, "https://api.example.com/v1")


@pytest.fixture
async def store(sql_url: str) -> AsyncIterator[ModelStore]:
    database = Database(sql_url, "models")
    await migrate(database, "tenantry.models.migrations")
    made = SqlModelStore(database)
    for tenant in (ACME, GLOBEX):
        assert await made.add_tenant(tenant, "pro")
    yield made
    await database.close()


def model(name: str, owner: Owner = PLATFORM, **more: int) -> Model:
    return Model(name, Provider.OPENAI, "gpt", tenant_of(owner), **more)  # pyright: ignore[reportArgumentType]


async def test_an_owner_begins_with_nothing(store: ModelStore) -> None:
    for owner in (PLATFORM, ACME):
        holdings = await store.load(owner)
        assert (holdings.models, holdings.policy, holdings.version, holdings.credentials) == ({}, Policy(), 0, {})


async def test_adding_a_tenant_again_changes_nothing(store: ModelStore) -> None:
    await store.register(ACME, model("tuned", ACME))
    assert not await store.add_tenant(ACME, "pro")
    assert set((await store.load(ACME)).models) == {"tuned"}


async def test_a_tenant_known_under_another_organisation_is_refused(store: ModelStore) -> None:
    with pytest.raises(FailedPrecondition):
        await store.add_tenant(Tenant("other-org", "acme"), "pro")


async def test_a_model_comes_back_as_it_was_registered(store: ModelStore) -> None:
    whole = Model("m/x:1", Provider.ANTHROPIC, "claude", "acme", "https://a.example/v1", "eu", 3, 10**12, 99, False)
    await store.register(ACME, whole)
    assert (await store.load(ACME)).models == {"m/x:1": whole}


async def test_registering_the_same_again_changes_nothing_and_another_is_refused(store: ModelStore) -> None:
    await store.register(PLATFORM, model("gpt"))
    await store.register(PLATFORM, model("gpt"))
    with pytest.raises(AlreadyExists):
        await store.register(PLATFORM, model("gpt", input_price_micros=1))
    assert (await store.load(PLATFORM)).models["gpt"].input_price_micros == 0


async def test_a_tenants_id_shadows_no_platform_id_and_the_other_way_round(store: ModelStore) -> None:
    await store.register(PLATFORM, model("gpt"))
    with pytest.raises(AlreadyExists):
        await store.register(ACME, model("gpt", ACME))
    await store.register(ACME, model("tuned", ACME))
    with pytest.raises(AlreadyExists):
        await store.register(PLATFORM, model("tuned"))


async def test_two_tenants_may_use_the_same_id_for_models_of_their_own(store: ModelStore) -> None:
    await store.register(ACME, model("tuned", ACME, input_price_micros=1))
    await store.register(GLOBEX, model("tuned", GLOBEX, input_price_micros=2))
    assert (await store.load(ACME)).models["tuned"].input_price_micros == 1
    assert await store.deregister(ACME, "tuned")
    assert (await store.load(ACME)).models == {}
    assert (await store.load(GLOBEX)).models["tuned"].tenant == "globex"


async def test_of_a_tenant_and_the_platform_who_register_an_id_at_once_one_wins(store: ModelStore) -> None:
    for number in range(6):
        name = f"race-{number}"
        both = (store.register(ACME, model(name, ACME)), store.register(PLATFORM, model(name)))
        results = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(type(one).__name__ for one in results) == ["AlreadyExists", "NoneType"]


async def test_deregistering_says_whether_it_was_there(store: ModelStore) -> None:
    await store.register(PLATFORM, model("gpt"))
    assert not await store.deregister(ACME, "gpt"), "a tenant removes nothing of the platform's"
    assert await store.deregister(PLATFORM, "gpt")
    assert not await store.deregister(PLATFORM, "gpt")


async def test_a_policy_is_replaced_by_who_read_its_version(store: ModelStore) -> None:
    first = Policy((Provider.OPENAI,), ("a", "b"), ("c",), ("eu",), "a", ("b",))
    assert await store.put_policy(ACME, first, 0) == 1
    assert (await store.load(ACME)).policy == first
    for version in (0, 2):
        with pytest.raises(Aborted):
            await store.put_policy(ACME, Policy(), version)
    assert await store.put_policy(ACME, Policy(), 1) == 2
    assert (await store.load(ACME)).version == 2
    assert (await store.load(GLOBEX)).version == 0


@pytest.mark.parametrize("version", [0, 1])
async def test_of_many_writers_who_read_the_same_version_one_wins(store: ModelStore, version: int) -> None:
    if version:
        await store.put_policy(ACME, Policy(), 0)
    writes = [store.put_policy(ACME, Policy(preferred_model=f"m{n}"), version) for n in range(8)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [one for one in results if isinstance(one, int)] == [version + 1]
    assert sum(isinstance(one, Aborted) for one in results) == 7


async def test_a_credential_is_one_owners_for_one_provider_and_address(store: ModelStore) -> None:
    await store.put_credential(ACME, ACCOUNT, b"acme")
    await store.put_credential(PLATFORM, ACCOUNT, b"platform")
    await store.put_credential(ACME, ACCOUNT, b"acme-2")
    assert (await store.load(ACME)).credentials == {ACCOUNT: b"acme-2"}
    assert (await store.load(PLATFORM)).credentials == {ACCOUNT: b"platform"}
    assert (await store.load(GLOBEX)).credentials == {}
    await store.put_credential(ACME, (Provider.ANTHROPIC, ACCOUNT[1]), None)
    await store.put_credential(ACME, ACCOUNT, None)
    assert (await store.load(ACME)).credentials == {}
    assert (await store.load(PLATFORM)).credentials == {ACCOUNT: b"platform"}


async def test_an_owner_has_no_more_than_the_limits(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_sql, "MAX_MODELS", 2)
    monkeypatch.setattr(store_sql, "MAX_CREDENTIALS", 2)
    for number in range(2):
        await store.register(ACME, model(f"m{number}", ACME))
        await store.put_credential(ACME, (Provider.OPENAI, f"https://{number}.example"), b"x")
    with pytest.raises(ResourceExhausted):
        await store.register(ACME, model("m2", ACME))
    with pytest.raises(ResourceExhausted):
        await store.put_credential(ACME, ACCOUNT, b"x")
    await store.register(ACME, model("m1", ACME))
    await store.put_credential(ACME, (Provider.OPENAI, "https://1.example"), b"y")
    await store.register(GLOBEX, model("m2", GLOBEX))


async def test_a_removed_tenant_has_nothing_and_the_others_all(store: ModelStore) -> None:
    for owner in (ACME, GLOBEX, PLATFORM):
        await store.register(owner, replace(model(f"m-{tenant_of(owner)}", owner)))
        await store.put_credential(owner, ACCOUNT, b"x")
    await store.put_policy(ACME, Policy(), 0)
    assert await store.remove_tenant(ACME) == 1
    assert await store.remove_tenant(ACME) is None
    assert await store.find_tenant("acme") is None
    with pytest.raises(FailedPrecondition):
        await store.load(ACME)
    assert len((await store.load(GLOBEX)).models) == len((await store.load(PLATFORM)).models) == 1
    assert await store.add_tenant(ACME, "pro")
    again = await store.load(ACME)
    assert (again.models, again.version, again.credentials) == ({}, 0, {})


async def test_every_write_for_an_unknown_tenant_is_refused(store: ModelStore) -> None:
    initech = Tenant("initech-org", "initech")
    for write in (
        store.register(initech, model("m", initech)),
        store.deregister(initech, "m"),
        store.put_policy(initech, Policy(), 0),
        store.put_credential(initech, ACCOUNT, b"x"),
    ):
        with pytest.raises(FailedPrecondition):
            await write
