"""Opens a store of either kind on given data: for the fixtures, and for a process that is killed while it writes.

As a program it writes versions of documents until it is killed, and prints each once it is acknowledged:
`python -m tests.contract.retrieval.opened KIND DIRECTORY TENANT [WEAVIATE_URL WEAVIATE_GRPC]`
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import numpy

from tenantry.kit.clock import SystemClock
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database, migrate
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.limits import Limits
from tenantry.retrieval.store import Document, DocumentStore, Key, Vectors
from tenantry.retrieval.store_sqlite import SqliteStore

EMBEDDER = "test-8"
PASSAGES = 40
Open = Callable[[], Awaitable[DocumentStore]]


async def sqlite_store(stack: AsyncExitStack, directory: Path) -> SqliteStore:
    store = SqliteStore(directory / "documents", EMBEDDER, open_files=4)
    stack.push_async_callback(store.close)
    return store


async def weaviate_store(stack: AsyncExitStack, sql_url: str, url: str, grpc: str) -> DocumentStore:
    from tenantry.retrieval.ledger import Ledger
    from tenantry.retrieval.store_weaviate import WeaviateStore
    from tenantry.retrieval.weaviate_shards import WeaviateShards

    database = Database(sql_url, "retrieval")
    stack.push_async_callback(database.close)
    await migrate(database, "tenantry.retrieval.migrations")
    store = WeaviateStore(WeaviateShards(url, grpc, "", EMBEDDER), Ledger(database), SystemClock())
    stack.push_async_callback(store.close)
    return store


async def put(
    store: DocumentStore,
    tenant: Tenant,
    key: Key,
    texts: Sequence[str],
    vectors: Sequence[Vectors] | None = None,
    limits: Limits = Limits(),
) -> bool:
    """Store a document of the given passages, all looking east unless said otherwise."""
    passages = [Passage(place, "", text) for place, text in enumerate(texts)]
    size = sum(len(text.encode()) for text in texts)
    document = Document(
        key, f"title of {key.document[:20]}", size, len(texts), " ".join(texts).encode()[:40], 1_700_000_000_123_456_789
    )
    return await store.put(tenant, document, passages, numpy.stack(vectors or [axis(1)] * len(texts)), limits)


def axis(*weights: float) -> Vectors:
    """A vector of unit length along the first axes."""
    vector = numpy.zeros(8, numpy.float32)
    vector[: len(weights)] = weights
    return (vector / numpy.linalg.norm(vector)).astype(numpy.float32)


async def write_until_killed(kind: str, directory: Path, tenant: Tenant, *addresses: str) -> None:
    async with AsyncExitStack() as stack:
        if kind == "sqlite":
            store: DocumentStore = await sqlite_store(stack, directory)
        else:
            store = await weaviate_store(stack, f"sqlite:///{directory}/retrieval.db", *addresses)
        version = 0
        while True:
            version += 1
            for document in ("a", "b", "c"):
                texts = [f"version {version} part {part}" for part in range(PASSAGES)]
                await put(store, tenant, Key("default", document), texts)
                print(document, version, flush=True)


if __name__ == "__main__":
    _, kind, directory, tenant_id, *addresses = sys.argv
    asyncio.run(write_until_killed(kind, Path(directory), Tenant("acme-org", tenant_id), *addresses))
