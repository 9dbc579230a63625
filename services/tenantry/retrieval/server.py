"""Wires retrieval: its store of documents, its embedder, its services."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tenantry.api.retrieval.v1.document_service_pb2_grpc import add_DocumentServiceServicer_to_server
from tenantry.kit import lifecycle
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.server import Room
from tenantry.retrieval.documents import Documents
from tenantry.retrieval.embedder import WordLlamaEmbedder
from tenantry.retrieval.search import Search
from tenantry.retrieval.service import DocumentService
from tenantry.retrieval.settings import Settings
from tenantry.retrieval.store_sqlite import SqliteStore
from tenantry.retrieval.tenants import Tenants


@asynccontextmanager
async def build(settings: Settings, mesh: Mesh) -> AsyncIterator[Room]:
    """The room, while the block runs."""
    async with AsyncExitStack() as stack:
        embedder = WordLlamaEmbedder()
        stack.callback(embedder.close)
        store = SqliteStore(settings.directory, embedder.name, open_files=settings.open_files)
        stack.push_async_callback(store.close)
        documents = Documents(store, embedder, SystemClock(), settings.limits)
        stack.callback(documents.close)
        tenants = Tenants(store)
        yield Room(
            "retrieval",
            [
                (
                    add_DocumentServiceServicer_to_server,
                    DocumentService(documents, Search(store, embedder)),
                ),
                (lifecycle.add_to_server, lifecycle.LifecycleService(tenants.provision, tenants.deprovision)),
            ],
            [embedder.start],
        )
