"""The tenants' files that are open: at most so many, the least used closed first, and never one that is in use."""

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tenantry.kit.ids import check_tenant_id
from tenantry.kit.owner import Tenant
from tenantry.kit.tenants import not_provisioned
from tenantry.retrieval import tenant_file
from tenantry.retrieval.turns import Turns

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Opened:
    connection: sqlite3.Connection
    inode: Inode
    organisation: str


class OpenFile:
    """A connection for reading and one for writing, each opened when first used and used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.users = 0
        self._path = path
        self._opened: dict[bool, _Opened] = {}

    def connection(self, tenant: Tenant, *, writes: bool) -> sqlite3.Connection:
        """In a thread, while it is in use for reading or writing.

        This or another process may have deleted the file and made it again since it was opened: what is open is then the
        file of a tenant that is no more, so each use compares it with the one that has the name now.
        """
        now = _inode(self._path)
        opened = self._opened.get(writes)
        if opened is None or opened.inode != now:
            self._close(writes)
            if now is None:
                raise not_provisioned()
            opened = self._opened[writes] = self._open(now, writes)
        if tenant.organisation and opened.organisation != tenant.organisation:
            raise not_provisioned()
        return opened.connection

    def is_open(self) -> bool:
        """Whether `connection` for reading would have nothing to open or close, so that it need not be in a thread."""
        opened = self._opened.get(False)
        return opened is not None and opened.inode == _inode(self._path)

    def close(self) -> None:
        """In a thread, when nobody uses it."""
        self._close(False)
        self._close(True)

    def _open(self, inode: Inode, writes: bool) -> _Opened:
        try:
            connection = tenant_file.connect(self._path, writes=writes)
        except sqlite3.OperationalError:
            if _inode(self._path) is None:
                raise not_provisioned() from None
            raise
        if _inode(self._path) != inode:
            # Swapped while it was being opened, so it is not known which one was: the tenant is just being deleted.
            connection.close()
            raise not_provisioned()
        return _Opened(connection, inode, tenant_file.organisation_of(connection))

    def _close(self, writes: bool) -> None:
        opened = self._opened.pop(writes, None)
        if opened is not None:
            opened.connection.close()


def _inode(path: Path) -> Inode | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class OpenFiles:
    """The files by tenant, each with one reader and one writer at a time. A use beyond `most` waits for another to end."""

    def __init__(self, directory: Path, most: int, threads: Executor) -> None:
        self._directory = directory
        self._most = most
        self._threads = threads
        uses = asyncio.Semaphore(most)
        self._reads, self._writes = Turns(uses, 1), Turns(uses, 1)
        self._files: OrderedDict[str, OpenFile] = OrderedDict()

    def path(self, tenant: Tenant) -> Path:
        """Where the tenant's file is. Ids have neither dots nor slashes, so every name is one of a file in here."""
        return self._directory / f"{check_tenant_id(tenant.id)}.db"

    @asynccontextmanager
    async def use(self, tenant: Tenant, *, writes: bool) -> AsyncGenerator[OpenFile]:
        """The tenant's file for its one reader or writer, kept from being closed until the block ends."""
        # Each use needs one file at most, so while a use is allowed in there is an unused file to close.
        async with (self._writes if writes else self._reads).turn(tenant):
            file = self._files.get(tenant.id)
            if file is None:
                file = self._files[tenant.id] = OpenFile(self.path(tenant))
            self._files.move_to_end(tenant.id)
            file.users += 1
            try:
                await self._close_surplus()
                yield file
            finally:
                file.users -= 1

    async def close(self) -> None:
        """Close all, once nothing uses them."""
        files = list(self._files.values())
        self._files.clear()
        for file in files:
            await self._close(file)

    def __len__(self) -> int:
        return len(self._files)

    async def _close_surplus(self) -> None:
        while len(self._files) > self._most:
            unused = next((id for id, file in self._files.items() if not file.users), None)
            if unused is None:
                return
            await self._close(self._files.pop(unused))

    async def _close(self, file: OpenFile) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, file.close)
