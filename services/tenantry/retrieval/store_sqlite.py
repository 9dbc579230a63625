"""Documents in one SQLite file a tenant: the store that needs nothing installed.

Statements run in threads: searches and writes have their own, so that a long write never takes the place of a search, and one
tenant has at most one of each at a time. What has begun is finished even when its caller has gone.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tenantry.kit.errors import FailedPrecondition, Reason, StoreFailed, StoreUnavailable, TenantryError
from tenantry.kit.owner import Tenant
from tenantry.kit.tenants import not_provisioned
from tenantry.retrieval import tenant_file, tenant_search
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.limits import Limits
from tenantry.retrieval.open_files import OpenFile, OpenFiles
from tenantry.retrieval.store import Document, Epoch, Found, Key, Query, Vectors
from tenantry.retrieval.tenant_search import VectorMemory
from tenantry.retrieval.under_way import UnderWay

R = TypeVar("R")

STORE = "documents"
_READERS = 4
_WRITERS = 2
_TRANSIENT = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_INTERRUPT")


class SqliteStore:
    """`embedder` names whose vectors are written and searched; a file may hold those of an earlier one, which are left out."""

    def __init__(self, directory: Path, embedder: str, *, open_files: int = 64, vector_bytes: int = 64 << 20) -> None:
        self._embedder = embedder
        self._readers = ThreadPoolExecutor(_READERS, "documents-read")
        self._writers = ThreadPoolExecutor(_WRITERS, "documents-write")
        self._files = OpenFiles(directory, open_files, self._readers)
        self._memory = VectorMemory(vector_bytes)
        self._under_way = UnderWay()

    async def provision(self, tenant: Tenant) -> bool:
        # Microseconds since 1970: later than any epoch that a tenant of this id had before, if there was one.
        epoch = time.time_ns() // 1000

        def made() -> bool:
            return tenant_file.make(self._files.path(tenant), tenant, epoch)

        if await self._under_way.finish(self._in_writer(made)):
            return True
        try:
            await self._read(tenant, tenant_file.epoch_of)
        except FailedPrecondition as error:
            if error.reason is not Reason.TENANT_NOT_PROVISIONED:
                raise
            raise FailedPrecondition(
                Reason.STORE_UNFIT, "the tenant is known here under another organisation"
            ) from None
        return False

    async def deprovision(self, tenant: Tenant) -> int | None:
        def removed(connection: sqlite3.Connection) -> int:
            # Under the file's write lock, so that nothing is being written and acknowledged meanwhile.
            with tenant_file.transaction(connection, writes=True):
                documents = tenant_file.totals_of(connection).documents
                tenant_file.remove(self._files.path(tenant))
            return documents

        try:
            documents = await self._write(tenant, removed)
        except FailedPrecondition as error:
            if error.reason is not Reason.TENANT_NOT_PROVISIONED:
                raise
            documents = None
        self._memory.forget(tenant.id)
        return documents

    async def find(self, tenant: Tenant, key: Key) -> Document | None:
        return await self._read(tenant, lambda connection: tenant_file.find(connection, key))

    async def put(
        self, tenant: Tenant, document: Document, passages: Sequence[Passage], vectors: Vectors, limits: Limits
    ) -> bool:
        return await self._write(
            tenant, lambda c: tenant_file.put(c, document, passages, vectors, self._embedder, limits)
        )

    async def delete(self, tenant: Tenant, key: Key) -> bool:
        return await self._write(tenant, lambda connection: tenant_file.delete(connection, key))

    async def list(
        self, tenant: Tenant, collections: tuple[str, ...] | None, after: Key | None, size: int
    ) -> list[Document]:
        return await self._read(tenant, lambda c: tenant_file.page(c, collections, after, size))

    async def search(self, tenant: Tenant, query: Query) -> Found:
        return await self._read(
            tenant, lambda c: tenant_search.search(c, tenant.id, query, self._embedder, self._memory)
        )

    async def epoch(self, tenant: Tenant) -> Epoch:
        async with self._files.use(tenant, writes=False) as file:
            # Every request asks this, and the way to a thread and back costs ten times as much as the one row of an open
            # file. In WAL mode no writer can make a reader wait.
            number = _mapped(lambda: _epoch_now(file, tenant))()
        if number is None:
            number = await self._read(tenant, tenant_file.epoch_of)
        return Epoch(number, changing=False)

    async def close(self) -> None:
        await self._under_way.wait()
        await self._files.close()
        self._readers.shutdown()
        self._writers.shutdown()

    async def _read(self, tenant: Tenant, statement: Callable[[sqlite3.Connection], R]) -> R:
        async def run() -> R:
            async with self._files.use(tenant, writes=False) as file:
                return await asyncio.get_running_loop().run_in_executor(
                    self._readers, _mapped(lambda: statement(file.connection(tenant, writes=False)))
                )

        return await self._under_way.finish(run())

    async def _write(self, tenant: Tenant, statement: Callable[[sqlite3.Connection], R]) -> R:
        async def run() -> R:
            async with self._files.use(tenant, writes=True) as file:
                return await self._in_writer(lambda: statement(file.connection(tenant, writes=True)))

        return await self._under_way.finish(run())

    async def _in_writer(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._writers, _mapped(work))


def _epoch_now(file: OpenFile, tenant: Tenant) -> int | None:
    """The epoch, unless the file must be opened first."""
    return tenant_file.epoch_of(file.connection(tenant, writes=False)) if file.is_open() else None


def _mapped(work: Callable[[], R]) -> Callable[[], R]:
    """The work, with what SQLite and the file system raise made our own."""

    def run() -> R:
        try:
            return work()
        except TenantryError:
            raise
        except (sqlite3.Error, OSError) as error:
            raise translate(error) from None

    return run


def translate(error: Exception) -> TenantryError:
    """The one mapping of SQLite's exceptions. Their words stay out: they may quote what was stored."""
    code = str(getattr(error, "sqlite_errorname", ""))
    if code == "SQLITE_READONLY_DBMOVED":
        return not_provisioned()
    if code.startswith(_TRANSIENT) or isinstance(error, OSError):
        return StoreUnavailable(STORE)
    return StoreFailed(f"{STORE}: {type(error).__name__} {code}".rstrip())
