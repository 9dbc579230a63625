"""Wires retrieval: its store of documents, its embedder, its services."""

import asyncio
import importlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from tenantry.api.retrieval.v1.document_service_pb2_grpc import add_DocumentServiceServicer_to_server
from tenantry.kit import lifecycle
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.server import Room
from tenantry.kit.sql import Database, migrate
from tenantry.retrieval.documents import Documents
from tenantry.retrieval.embedder import WordLlamaEmbedder
from tenantry.retrieval.search import Search
from tenantry.retrieval.service import DocumentService
from tenantry.retrieval.settings import Settings
from tenantry.retrieval.store import DocumentStore
from tenantry.retrieval.store_sqlite import SqliteStore
from tenantry.retrieval.tenants import Tenants

Background = Callable[[], Awaitable[None]]


@asynccontextmanager
async def build(settings: Settings, mesh: Mesh) -> AsyncGenerator[Room]:
    """The room, while the block runs."""
    async with AsyncExitStack() as stack:
        embedder = WordLlamaEmbedder()
        stack.callback(embedder.close)
        store, background = await _store(settings, embedder.name, stack)
        documents = Documents(store, embedder, SystemClock(), settings.limits)
        stack.callback(documents.close)
        tenants = Tenants(store)
        yield Room(
            "retrieval",
            [
                (add_DocumentServiceServicer_to_server, DocumentService(documents, Search(store, embedder))),
                (lifecycle.add_to_server, lifecycle.LifecycleService(tenants.provision, tenants.deprovision)),
            ],
            [embedder.start, *background],
        )


async def _store(settings: Settings, embedder: str, stack: AsyncExitStack) -> tuple[DocumentStore, list[Background]]:
    if not settings.weaviate_url:
        store = SqliteStore(settings.directory, embedder, open_files=settings.open_files)
        stack.push_async_callback(store.close)
        return store, []
    # Seconds of imports, wanted by nobody else: in a thread, and only here.
    await asyncio.to_thread(importlib.import_module, "tenantry.retrieval.store_weaviate")
    from tenantry.retrieval.ledger import Ledger
    from tenantry.retrieval.store_weaviate import WeaviateStore
    from tenantry.retrieval.weaviate_shards import WeaviateShards

    database = Database(settings.sql_url, "retrieval")
    stack.push_async_callback(database.close)
    await migrate(database, "tenantry.retrieval.migrations")
    shards = WeaviateShards(settings.weaviate_url, settings.weaviate_grpc, settings.weaviate_key, embedder)
    weaviate = WeaviateStore(shards, Ledger(database), SystemClock())
    stack.push_async_callback(weaviate.close)
    return weaviate, [weaviate.sweep]
