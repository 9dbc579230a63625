"""What must be exact beside Weaviate, in SQL: tenants, which generation of each document counts, and writes under way.

Each upsert writes the passages of a new generation to the shard, and its document's row then names that generation; passages of
any other are never shown, and are deleted. So a write that is cut off anywhere leaves the old document or the new one. A row in
`writes` says that passages of other generations may be in the shard: it is entered before the first of them and goes after the
last, each time raising the epoch. While there is one, the tenant's documents are changing. Who writes holds a claim that ends
by itself, and whoever gets the claim next tidies up first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import claims
from tenantry.kit.errors import Aborted, FailedPrecondition, Reason
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database
from tenantry.kit.tenants import not_provisioned
from tenantry.retrieval.limits import Limits, Totals, check_room
from tenantry.retrieval.store import Document, Epoch, Key

# A write that takes longer has lost its claim; store_weaviate gives up before that.
CLAIM_S = 20.0

_metadata = MetaData()
_shards = Table(
    "shards",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("organisation", Text),
    Column("state", Text),
    Column("epoch", BigInteger),
)
_documents = Table(
    "documents",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("document", Text, primary_key=True),
    Column("title", Text),
    Column("size_bytes", BigInteger),
    Column("passages", Integer),
    Column("fingerprint", LargeBinary),
    Column("updated_ns", BigInteger),
    Column("generation", Text),
)
_writes = Table(
    "writes",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("document", Text, primary_key=True),
)


class State(StrEnum):
    """Of a tenant's shard; only while SERVING does it exist for anybody."""

    MAKING = "making"
    SERVING = "serving"
    GOING = "going"


@dataclass(frozen=True, slots=True)
class Write:
    """A right to change one document's passages in the shard, for CLAIM_S seconds."""

    tenant: Tenant
    key: Key
    holder: str


class Ledger:
    """All methods are one transaction each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_making(self, tenant: Tenant, epoch: int) -> State:
        """Enter the tenant, unless it is known: the state it was in, MAKING for a new one."""
        async with self._database.write() as connection:
            row = (await connection.execute(select(_shards).where(_shards.c.tenant == tenant.id))).first()
            if row is None:
                values = {
                    "tenant": tenant.id,
                    "organisation": tenant.organisation,
                    "state": State.MAKING,
                    "epoch": epoch,
                }
                await connection.execute(insert(_shards).values(values))
                return State.MAKING
            if tenant.organisation != row.organisation:
                raise FailedPrecondition(Reason.STORE_UNFIT, "the tenant is known here under another organisation")
            return State(row.state)

    async def end_making(self, tenant: Tenant) -> bool:
        """The shard is there; False if it is being deleted meanwhile."""
        async with self._database.write() as connection:
            making = (_shards.c.tenant == tenant.id) & (_shards.c.state == State.MAKING)
            return (await connection.execute(update(_shards).where(making).values(state=State.SERVING))).rowcount == 1

    async def begin_going(self, tenant: Tenant) -> int | None:
        """From here on the tenant is served no more: how many documents it has, None if it is not known."""
        async with self._database.write() as connection:
            named = _shards.c.tenant == tenant.id
            if tenant.organisation:
                named &= _shards.c.organisation == tenant.organisation
            gone = await connection.execute(
                update(_shards).where(named).values(state=State.GOING, epoch=_shards.c.epoch + 1)
            )
            return (await _totals(connection, tenant)).documents if gone.rowcount else None

    async def end_going(self, tenant: Tenant) -> None:
        """The shard is gone, and now so is all else."""
        async with self._database.write() as connection:
            going = (_shards.c.tenant == tenant.id) & (_shards.c.state == State.GOING)
            if (await connection.execute(delete(_shards).where(going))).rowcount:
                for table in (_documents, _writes):
                    await connection.execute(delete(table).where(table.c.tenant == tenant.id))

    async def epoch(self, tenant: Tenant) -> Epoch:
        """The epoch, and whether a write is under way."""
        async with self._database.read() as connection:
            number = await _serving(connection, tenant)
            under_way = select(exists().where(_writes.c.tenant == tenant.id))
            return Epoch(number, bool((await connection.execute(under_way)).scalar_one()))

    async def find(self, tenant: Tenant, key: Key) -> Document | None:
        """A document as it counts now."""
        async with self._database.read() as connection:
            await _serving(connection, tenant)
            row = await _row(connection, tenant, key)
        return None if row is None else _document(row)

    async def page(
        self, tenant: Tenant, collections: tuple[str, ...] | None, after: Key | None, size: int
    ) -> list[Document]:
        """Documents in order of collection and id."""
        query = select(_documents).where(_documents.c.tenant == tenant.id)
        if collections is not None:
            query = query.where(_documents.c.collection.in_(collections))
        if after is not None:
            place = tuple_(_documents.c.collection, _documents.c.document)
            query = query.where(place > tuple_(after.collection, after.document))
        async with self._database.read() as connection:
            await _serving(connection, tenant)
            rows = await connection.execute(query.order_by(_documents.c.collection, _documents.c.document).limit(size))
            return [_document(row) for row in rows]

    async def generations(self, tenant: Tenant, keys: Sequence[Key]) -> dict[Key, tuple[str, str]]:
        """Which generation of each document counts, and its title."""
        named = tuple_(_documents.c.collection, _documents.c.document).in_([(k.collection, k.document) for k in keys])
        query = select(_documents).where(_documents.c.tenant == tenant.id, named)
        async with self._database.read() as connection:
            await _serving(connection, tenant)
            rows = (await connection.execute(query)).all() if keys else ()
        return {Key(row.collection, row.document): (row.generation, row.title) for row in rows}

    async def begin(self, write: Write) -> bool:
        """Claim the document and say that it is changing; False while somebody else has it."""
        tenant, key = write.tenant, write.key
        async with self._database.write() as connection:
            await _serving(connection, tenant)
            if not await claims.claim(connection, _name(write), write.holder, CLAIM_S):
                return False
            if not (await connection.execute(select(exists().where(_is(_writes, tenant, key))))).scalar_one():
                values = {"tenant": tenant.id, "collection": key.collection, "document": key.document}
                await connection.execute(insert(_writes).values(values))
            await _raise_epoch(connection, tenant)
        return True

    async def store(self, write: Write, document: Document, generation: str, limits: Limits) -> bool:
        """From here on this generation counts; True if there was no document."""
        tenant, key = write.tenant, write.key
        async with self._database.write() as connection:
            await _keep(connection, write)
            old = await _row(connection, tenant, key)
            await _check_room(connection, tenant, old, document.size_bytes, limits)
            await connection.execute(delete(_documents).where(_is(_documents, tenant, key)))
            await connection.execute(insert(_documents).values(_values(tenant, document, generation)))
        return old is None

    async def check_room(self, tenant: Tenant, document: Document, limits: Limits) -> None:
        """Refuse early, before passages are written, what `store` would refuse."""
        async with self._database.read() as connection:
            await _serving(connection, tenant)
            old = await _row(connection, tenant, document.key)
            await _check_room(connection, tenant, old, document.size_bytes, limits)

    async def drop(self, write: Write) -> bool:
        """From here on there is no such document; False if there was none."""
        async with self._database.write() as connection:
            await _keep(connection, write)
            gone = await connection.execute(delete(_documents).where(_is(_documents, write.tenant, write.key)))
            return gone.rowcount == 1

    async def counts(self, write: Write) -> str:
        """The generation that counts now, "" for none; the claim is renewed, so that the others may be deleted."""
        async with self._database.write() as connection:
            await _keep(connection, write)
            row = await _row(connection, write.tenant, write.key)
        return "" if row is None else str(row.generation)

    async def end(self, write: Write) -> None:
        """The shard holds the generation that counts, and no other of this document."""
        async with self._database.write() as connection:
            await _keep(connection, write)
            await connection.execute(delete(_writes).where(_is(_writes, write.tenant, write.key)))
            await _raise_epoch(connection, write.tenant)
            await claims.release(connection, _name(write), write.holder)

    async def give_up(self, write: Write) -> None:
        """Let somebody else tidy up now."""
        async with self._database.write() as connection:
            await claims.release(connection, _name(write), write.holder)

    async def under_way(self, most: int, tenant: Tenant | None = None) -> list[tuple[Tenant, Key]]:
        """Writes that have not ended, of one tenant or of all that are served, be they going on or cut off."""
        query = select(_writes, _shards.c.organisation).join(_shards, _shards.c.tenant == _writes.c.tenant)
        query = query.where(_shards.c.state == State.SERVING)
        if tenant is not None:
            query = query.where(_writes.c.tenant == tenant.id)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(func.random()).limit(most))
            return [(Tenant(row.organisation, row.tenant), Key(row.collection, row.document)) for row in rows]


async def _serving(connection: AsyncConnection, tenant: Tenant) -> int:
    """The epoch of a tenant that is served; a refusal for any other."""
    row = (await connection.execute(select(_shards).where(_shards.c.tenant == tenant.id))).first()
    if row is None or row.state != State.SERVING or (tenant.organisation and row.organisation != tenant.organisation):
        raise not_provisioned()
    return int(row.epoch)


async def _keep(connection: AsyncConnection, write: Write) -> None:
    await _serving(connection, write.tenant)
    if not await claims.renew(connection, _name(write), write.holder, CLAIM_S):
        raise Aborted(Reason.HANDLE_LOST, "the document's write took too long and was undone; send it again")


async def _raise_epoch(connection: AsyncConnection, tenant: Tenant) -> None:
    mine = _shards.c.tenant == tenant.id
    await connection.execute(update(_shards).where(mine).values(epoch=_shards.c.epoch + 1))


async def _row(connection: AsyncConnection, tenant: Tenant, key: Key) -> Row[Any] | None:
    return (await connection.execute(select(_documents).where(_is(_documents, tenant, key)))).first()


async def _totals(connection: AsyncConnection, tenant: Tenant) -> Totals:
    counted = select(func.count(), func.coalesce(func.sum(_documents.c.size_bytes), 0))
    documents, size = (await connection.execute(counted.where(_documents.c.tenant == tenant.id))).one()
    return Totals(int(documents), int(size))


async def _check_room(
    connection: AsyncConnection, tenant: Tenant, old: Row[Any] | None, size: int, limits: Limits
) -> None:
    now = await _totals(connection, tenant)
    replaced = 0 if old is None else _document(old).size_bytes
    check_room(now, Totals(now.documents + (old is None), now.bytes + size - replaced), limits)


def _is(table: Table, tenant: Tenant, key: Key) -> ColumnElement[bool]:
    mine = table.c.tenant == tenant.id
    return mine & (table.c.collection == key.collection) & (table.c.document == key.document)


def _name(write: Write) -> str:
    """Neither a tenant's id nor a collection's name has a slash, so no two documents have the same."""
    return f"{write.tenant.id}/{write.key.collection}/{write.key.document}"


def _values(tenant: Tenant, document: Document, generation: str) -> dict[str, object]:
    return {
        "tenant": tenant.id,
        "collection": document.key.collection,
        "document": document.key.document,
        "title": document.title,
        "size_bytes": document.size_bytes,
        "passages": document.passages,
        "fingerprint": document.fingerprint,
        "updated_ns": document.updated_ns,
        "generation": generation,
    }


def _document(row: Row[Any]) -> Document:
    key = Key(row.collection, row.document)
    return Document(key, row.title, row.size_bytes, row.passages, bytes(row.fingerprint), row.updated_ns)
