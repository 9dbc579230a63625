"""One tenant's SQLite file: its tables, and the statements on a connection to it. Called in threads, never on the loop.

A passage's rowid is its document's id times 65536 plus its ordinal, so that a document's passages and their vectors are a range
and one blob. The epoch is in the same file, raised in the transaction that changes something.
"""

import json
import os
import secrets
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy

from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.kit.owner import Tenant
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.limits import Limits, Totals, check_room
from tenantry.retrieval.store import Document, Key, Vectors

SCHEMA_VERSION = 1
ORDINAL_BITS = 16
WAIT_S = 5.0

_SCHEMA = f"""
CREATE TABLE tenant (organisation TEXT NOT NULL, epoch INTEGER NOT NULL);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL, document TEXT NOT NULL, title TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    passages INTEGER NOT NULL, fingerprint BLOB NOT NULL, updated_ns INTEGER NOT NULL,
    UNIQUE (collection, document)
);
CREATE TABLE vectors (id INTEGER PRIMARY KEY REFERENCES documents (id), embedder TEXT NOT NULL, data BLOB NOT NULL);
CREATE VIRTUAL TABLE passages USING fts5(title, heading, text, tokenize = 'porter unicode61 remove_diacritics 2');
INSERT INTO passages (passages, rank) VALUES ('rank', 'bm25(0.5, 1.0, 1.0)');
PRAGMA user_version = {SCHEMA_VERSION};
"""
_COLUMNS = "collection, document, title, size_bytes, passages, fingerprint, updated_ns"


def make(path: Path, tenant: Tenant, epoch: int) -> bool:
    """Make the tenant's file; False if it was there. It appears complete or not at all, whoever else does the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        return False
    # Left by a deletion that was cut off behind the file itself.
    remove_sidecars(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
            connection.execute("INSERT INTO tenant VALUES (?, ?)", (tenant.organisation, epoch))
        finally:
            connection.close()
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        _sync_directory(path.parent)
        return True
    finally:
        draft.unlink(missing_ok=True)
        remove_sidecars(draft)


def remove(path: Path) -> None:
    """Delete the file and what SQLite keeps beside it. The tenant is gone with the first of them."""
    path.unlink(missing_ok=True)
    remove_sidecars(path)
    if path.parent.exists():
        _sync_directory(path.parent)


def remove_sidecars(path: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def connect(path: Path, *, writes: bool) -> sqlite3.Connection:
    """A connection to a file that exists; sqlite3.OperationalError when it does not. Threads take turns with it."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=WAIT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -1024")
        if not writes:
            connection.execute("PRAGMA query_only = ON")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise FailedPrecondition(
                Reason.STORE_UNFIT,
                f"the documents' file has schema {version}, which this version of Tenantry does not know; "
                f"it knows {SCHEMA_VERSION}: start a newer version",
            )
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, *, writes: bool) -> Generator[None]:
    """Committed at the end of the block, rolled back if it raises."""
    connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def organisation_of(connection: sqlite3.Connection) -> str:
    return str(connection.execute("SELECT organisation FROM tenant").fetchone()[0])


def epoch_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT epoch FROM tenant").fetchone()[0])


def totals_of(connection: sqlite3.Connection) -> Totals:
    documents, size = connection.execute("SELECT count(*), coalesce(sum(size_bytes), 0) FROM documents").fetchone()
    return Totals(int(documents), int(size))


def find(connection: sqlite3.Connection, key: Key) -> Document | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM documents WHERE collection = ? AND document = ?", (key.collection, key.document)
    ).fetchone()
    return None if row is None else _document(row)


def page(
    connection: sqlite3.Connection, collections: tuple[str, ...] | None, after: Key | None, size: int
) -> list[Document]:
    """Documents in order of collection and id."""
    start = after or Key("", "")
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM documents WHERE (collection, document) > (:collection, :document)"
        " AND (:allowed IS NULL OR collection IN (SELECT value FROM json_each(:allowed)))"
        " ORDER BY collection, document LIMIT :size",
        {
            "collection": start.collection,
            "document": start.document,
            "allowed": json_list(collections),
            "size": size,
        },
    )
    return [_document(row) for row in rows]


def put(
    connection: sqlite3.Connection,
    document: Document,
    passages: Sequence[Passage],
    vectors: Vectors,
    embedder: str,
    limits: Limits,
) -> bool:
    """In a transaction of its own: the document in place of the one with its key; True if there was none."""
    key = document.key
    with transaction(connection, writes=True):
        old = find(connection, key)
        now = totals_of(connection)
        then = Totals(
            now.documents + (old is None), now.bytes + document.size_bytes - (0 if old is None else old.size_bytes)
        )
        check_room(now, then, limits)
        if old is not None:
            _drop(connection, key)
        cursor = connection.execute(
            f"INSERT INTO documents ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                key.collection,
                key.document,
                document.title,
                document.size_bytes,
                document.passages,
                document.fingerprint,
                document.updated_ns,
            ),
        )
        id = int(cursor.lastrowid or 0)
        connection.execute(
            "INSERT INTO vectors VALUES (?, ?, ?)", (id, embedder, vectors.astype(numpy.float16).tobytes())
        )
        connection.executemany(
            "INSERT INTO passages (rowid, title, heading, text) VALUES (?, ?, ?, ?)",
            [((id << ORDINAL_BITS) + p.ordinal, document.title, p.heading, p.text) for p in passages],
        )
        connection.execute("UPDATE tenant SET epoch = epoch + 1")
    return old is None


def delete(connection: sqlite3.Connection, key: Key) -> bool:
    """In a transaction of its own; False if there was none."""
    with transaction(connection, writes=True):
        if not _drop(connection, key):
            return False
        connection.execute("UPDATE tenant SET epoch = epoch + 1")
    return True


def _drop(connection: sqlite3.Connection, key: Key) -> bool:
    row = connection.execute(
        "SELECT id FROM documents WHERE collection = ? AND document = ?", (key.collection, key.document)
    ).fetchone()
    if row is None:
        return False
    first = int(row[0]) << ORDINAL_BITS
    connection.execute("DELETE FROM passages WHERE rowid BETWEEN ? AND ?", (first, first + (1 << ORDINAL_BITS) - 1))
    connection.execute("DELETE FROM vectors WHERE id = ?", row)
    connection.execute("DELETE FROM documents WHERE id = ?", row)
    return True


def json_list(values: tuple[str, ...] | None) -> str | None:
    """Many values as one parameter, for `json_each`."""
    return None if values is None else json.dumps(values)


def _document(row: tuple[str, str, str, int, int, bytes, int]) -> Document:
    collection, document, title, size_bytes, passages, fingerprint, updated_ns = row
    return Document(Key(collection, document), title, size_bytes, passages, fingerprint, updated_ns)
