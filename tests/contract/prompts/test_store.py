"""What every PromptStore does, on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenantry.kit.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database, migrate
from tenantry.prompts.prompt import Source
from tenantry.prompts.store_sql import SqlPromptStore
from tests.harness.clock import FrozenClock

ACME = Tenant("acme-org", "acme")
GLOBEX = Tenant("globex-org", "globex")
SOURCE = Source("s", "u", "", 10, None)


@pytest.fixture
async def store(sql_url: str, clock: FrozenClock) -> AsyncIterator[SqlPromptStore]:
    database = Database(sql_url, "prompts")
    await migrate(database, "tenantry.prompts.migrations")
    store = SqlPromptStore(database, clock)
    for tenant in (ACME, GLOBEX):
        assert await store.add_tenant(tenant, "pro", "answer", SOURCE)
    yield store
    await database.close()


async def test_adding_a_tenant_again_changes_nothing(store: SqlPromptStore) -> None:
    assert not await store.add_tenant(ACME, "pro", "answer", SOURCE)
    assert [one.prompt for one in await store.list_prompts(ACME, "", 10)] == ["answer"]


async def test_a_tenant_known_under_another_organisation_is_refused(store: SqlPromptStore) -> None:
    with pytest.raises(FailedPrecondition):
        await store.add_tenant(Tenant("other-org", "acme"), "pro", "answer", SOURCE)


async def test_the_same_name_is_another_prompt_at_another_tenant(store: SqlPromptStore) -> None:
    await store.create(ACME, "brief", Source("acme", "u"), "key_1")
    await store.create(GLOBEX, "brief", Source("globex", "u"), "key_2")
    assert (await store.get(ACME, "brief", 0))[1].source.system == "acme"
    await store.delete(ACME, "brief", 1)
    assert (await store.get(GLOBEX, "brief", 0))[1].source.system == "globex"
    with pytest.raises(NotFound):
        await store.get(ACME, "brief", 0)


async def test_a_name_is_given_once(store: SqlPromptStore) -> None:
    with pytest.raises(AlreadyExists):
        await store.create(ACME, "answer", SOURCE, "key_1")


async def test_of_many_writers_who_read_the_same_version_one_wins(store: SqlPromptStore) -> None:
    writes = [store.revise(ACME, "answer", Source(f"s{n}", "u"), "key_1", 1) for n in range(8)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in results) == 1
    assert all(isinstance(one, Aborted) for one in results if isinstance(one, BaseException))
    prompt, revision = await store.get(ACME, "answer", 0)
    assert (prompt.version, prompt.latest_revision, revision.revision) == (2, 2, 2)


async def test_a_revision_never_changes(store: SqlPromptStore) -> None:
    await store.revise(ACME, "answer", Source("new", "u"), "key_1", 1)
    assert (await store.get(ACME, "answer", 1))[1].source == SOURCE
    pointed = await store.point(ACME, "answer", 1, 2)
    assert (pointed.production_revision, pointed.latest_revision, pointed.version) == (1, 2, 3)
    with pytest.raises(NotFound):
        await store.point(ACME, "answer", 3, 3)


async def test_a_removed_tenant_has_nothing_and_the_others_all(store: SqlPromptStore) -> None:
    await store.create(ACME, "brief", SOURCE, "key_1")
    assert await store.remove_tenant(ACME) == 2
    assert await store.remove_tenant(ACME) is None
    with pytest.raises(FailedPrecondition):
        await store.get(ACME, "brief", 0)
    assert await store.find_tenant("acme") is None
    assert len(await store.list_prompts(GLOBEX, "", 10)) == 1
