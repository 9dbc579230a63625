"""Each kind of store, ready for use, and a way to open the same data a second time."""

import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tenantry.kit.owner import Tenant
from tenantry.retrieval.store import DocumentStore
from tests.contract.retrieval import opened
from tests.contract.retrieval.opened import Open
from tests.harness import weaviate


@pytest.fixture(scope="session")
def weaviate_server() -> Iterator[weaviate.WeaviateServer | weaviate.ExternalWeaviate]:
    server = weaviate.start()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", pytest.param("weaviate", marks=pytest.mark.needs("weaviate"))])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def addresses(kind: str, request: pytest.FixtureRequest) -> list[str]:
    """Where Weaviate is, for that kind."""
    if kind == "sqlite":
        return []
    server = request.getfixturevalue("weaviate_server")
    return [server.url, server.grpc]


@pytest.fixture
async def open_store(kind: str, addresses: list[str], tmp_path: Path) -> AsyncGenerator[Open]:
    """Opens a store on this test's data; each is closed at the end."""
    async with AsyncExitStack() as stack:

        async def open_() -> DocumentStore:
            if kind == "sqlite":
                return await opened.sqlite_store(stack, tmp_path)
            url, grpc = addresses
            return await opened.weaviate_store(stack, f"sqlite:///{tmp_path}/retrieval.db", url, grpc)

        yield open_


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
