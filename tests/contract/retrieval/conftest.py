"""Each kind of store, ready for use, and a way to open the same data a second time."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tenantry.kit.clock import SystemClock
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database, migrate
from tenantry.retrieval.store import DocumentStore
from tenantry.retrieval.store_sqlite import SqliteStore
from tests.harness import weaviate

EMBEDDER = "test-8"
Open = Callable[[], Awaitable[DocumentStore]]


@pytest.fixture(scope="session")
def weaviate_server() -> Iterator[weaviate.WeaviateServer | weaviate.ExternalWeaviate]:
    server = weaviate.start()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", pytest.param("weaviate", marks=pytest.mark.needs("weaviate"))])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Open]:
    """Opens a store on this test's data; each is closed at the end."""
    async with AsyncExitStack() as stack:

        async def sqlite() -> DocumentStore:
            store = SqliteStore(tmp_path / "documents", EMBEDDER, open_files=4)
            stack.push_async_callback(store.close)
            return store

        async def on_weaviate() -> DocumentStore:
            from tenantry.retrieval.ledger import Ledger
            from tenantry.retrieval.store_weaviate import WeaviateStore
            from tenantry.retrieval.weaviate_shards import WeaviateShards

            server = request.getfixturevalue("weaviate_server")
            database = Database(f"sqlite:///{tmp_path}/retrieval.db", "retrieval")
            stack.push_async_callback(database.close)
            await migrate(database, "tenantry.retrieval.migrations")
            shards = WeaviateShards(server.url, server.grpc, "", EMBEDDER)
            store = WeaviateStore(shards, Ledger(database), SystemClock())
            stack.push_async_callback(store.close)
            return store

        yield sqlite if request.param == "sqlite" else on_weaviate


@pytest.fixture
async def store(open_store: Open) -> DocumentStore:
    return await open_store()


@pytest.fixture
def new_tenant() -> Callable[[], Tenant]:
    """A tenant that no other test has, not provisioned."""
    return lambda: Tenant("acme-org", f"acme-{secrets.token_hex(6)}")


@pytest.fixture
async def tenant(store: DocumentStore, new_tenant: Callable[[], Tenant]) -> AsyncGenerator[Tenant]:
    """A provisioned tenant."""
    tenant = new_tenant()
    await store.provision(tenant)
    yield tenant
    await store.deprovision(tenant)
