"""Searches one tenant's SQLite file: BM25 by FTS5, cosines by numpy over all vectors, which are remembered within a bound."""

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from tenantry.retrieval import tenant_file
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.fusion import Scores, fuse
from tenantry.retrieval.store import Candidate, Found, Key, Query, Vectors
from tenantry.retrieval.tenant_file import ORDINAL_BITS

Ids = NDArray[numpy.int64]
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Matrix:
    """Vectors of passages, a row each, by rising id."""

    ids: Ids
    rows: Vectors


class VectorMemory:
    """The matrices of the tenants that searched last, up to so many bytes in all. Used by several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[int, Matrix]] = OrderedDict()
        self._bytes = 0

    def get(self, tenant: str, epoch: int) -> Matrix | None:
        """The tenant's matrix, if it is of this epoch."""
        with self._lock:
            kept = self._kept.get(tenant)
            if kept is None or kept[0] != epoch:
                return None
            self._kept.move_to_end(tenant)
            return kept[1]

    def keep(self, tenant: str, epoch: int, matrix: Matrix) -> None:
        """Remember it in place of the tenant's older one, and forget others that there is no room for."""
        with self._lock:
            self._drop(tenant)
            if _bytes(matrix) > self._max_bytes:
                return
            self._kept[tenant] = (epoch, matrix)
            self._bytes += _bytes(matrix)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def forget(self, tenant: str) -> None:
        """Drop what is remembered of a tenant."""
        with self._lock:
            self._drop(tenant)

    def fits(self, passages: int, dimensions: int) -> bool:
        """Whether a matrix of that size would be kept."""
        return passages * (dimensions * 4 + 8) <= self._max_bytes

    def _drop(self, tenant: str) -> None:
        kept = self._kept.pop(tenant, None)
        if kept is not None:
            self._bytes -= _bytes(kept[1])


def search(connection: sqlite3.Connection, tenant: str, query: Query, embedder: str, memory: VectorMemory) -> Found:
    """All of it at one moment of the file."""
    with tenant_file.transaction(connection, writes=False):
        epoch = tenant_file.epoch_of(connection)
        allowed = tenant_file.json_list(query.collections)
        by_words = _by_words(connection, query, allowed)
        ids, cosines = _cosines(connection, tenant, epoch, query, embedder, memory)
        chosen = set(by_words) | _nearest(connection, ids, cosines, query.depth, allowed)
        cosine_of = _look_up(ids, cosines, chosen)
        score_of = _best(chosen, by_words, cosine_of, query.limit)
        rows = connection.execute(
            "SELECT p.rowid, d.collection, d.document, p.title, p.heading, p.text"
            " FROM json_each(?) AS chosen CROSS JOIN passages AS p ON p.rowid = chosen.value"
            f" CROSS JOIN documents AS d ON d.id = chosen.value >> {ORDINAL_BITS}",
            (json.dumps(sorted(score_of)),),
        ).fetchall()
    candidates = [
        Candidate(
            Key(collection, document),
            title,
            Passage(id & ((1 << ORDINAL_BITS) - 1), heading, text),
            by_words.get(id, 0.0),
            cosine_of.get(id, 0.0),
            score_of[id],
        )
        for id, collection, document, title, heading, text in rows
    ]
    return Found(candidates, epoch)


def _best(
    chosen: set[int], by_words: dict[int, float], cosine_of: dict[int, float], limit: int | None
) -> dict[int, float]:
    """The fused scores of the best, equals of the last one included: the texts of the others need not be read."""
    ids = list(chosen)
    score_of = dict(zip(ids, fuse(Scores(by_words.get(id, 0.0), cosine_of.get(id, 0.0)) for id in ids), strict=True))
    if limit is None or len(ids) <= limit:
        return score_of
    least = sorted(score_of.values(), reverse=True)[limit - 1]
    return {id: score for id, score in score_of.items() if score >= least}


def _by_words(connection: sqlite3.Connection, query: Query, allowed: str | None) -> dict[int, float]:
    if not query.words:
        return {}
    # Each word is a quoted string, in which FTS5 knows no operators, and a quote is doubled.
    match = " OR ".join('"{}"'.format(word.replace('"', '""')) for word in query.words)
    within = f" AND rowid >> {ORDINAL_BITS} IN ({_ALLOWED})" if allowed is not None else ""
    rows = connection.execute(
        # `+`: SQLite's own sorter keeps the best as they come, and takes half the time of FTS5's.
        f"SELECT rowid, -rank FROM passages WHERE passages MATCH ?{within} ORDER BY +rank LIMIT ?",
        (match, *(() if allowed is None else (allowed,)), query.depth),
    )
    return {int(id): float(score) for id, score in rows}


_ALLOWED = "SELECT id FROM documents WHERE collection IN (SELECT value FROM json_each(?))"


def _cosines(
    connection: sqlite3.Connection, tenant: str, epoch: int, query: Query, embedder: str, memory: VectorMemory
) -> tuple[Ids, Vectors]:
    """The cosine of every passage, by rising id."""
    dimensions = len(query.vector)
    matrix = memory.get(tenant, epoch)
    if matrix is None:
        (passages,) = connection.execute("SELECT coalesce(sum(passages), 0) FROM documents").fetchone()
        if not memory.fits(passages, dimensions):
            parts = [(part.ids, part.rows @ query.vector) for part in _stored(connection, embedder, dimensions)]
            if not parts:  # all are of another embedder
                return _EMPTY.ids, _EMPTY.rows
            return numpy.concatenate([ids for ids, _ in parts]), numpy.concatenate([scores for _, scores in parts])
        loaded = list(_stored(connection, embedder, dimensions)) or [_EMPTY]
        rows = numpy.concatenate([part.rows.reshape(-1, dimensions) for part in loaded])
        matrix = Matrix(numpy.concatenate([part.ids for part in loaded]), rows)
        memory.keep(tenant, epoch, matrix)
    return matrix.ids, matrix.rows @ query.vector


def _stored(connection: sqlite3.Connection, embedder: str, dimensions: int) -> Iterator[Matrix]:
    """The vectors of this embedder in the file, some thousand passages at a time."""
    ids: list[Ids] = []
    blobs: list[bytes] = []
    size = 0
    for id, blob in connection.execute("SELECT id, data FROM vectors WHERE embedder = ? ORDER BY id", (embedder,)):
        count = len(blob) // (2 * dimensions)
        ids.append((id << ORDINAL_BITS) + numpy.arange(count, dtype=numpy.int64))
        blobs.append(blob)
        size += count
        if size >= _ROWS_AT_ONCE:
            yield _matrix(ids, blobs, dimensions)
            ids, blobs, size = [], [], 0
    if ids:
        yield _matrix(ids, blobs, dimensions)


def _matrix(ids: list[Ids], blobs: list[bytes], dimensions: int) -> Matrix:
    rows = numpy.frombuffer(b"".join(blobs), numpy.float16).reshape(-1, dimensions).astype(numpy.float32)
    return Matrix(numpy.concatenate(ids), rows)


_EMPTY = Matrix(numpy.zeros(0, numpy.int64), numpy.zeros((0,), numpy.float32))


def _nearest(connection: sqlite3.Connection, ids: Ids, cosines: Vectors, depth: int, allowed: str | None) -> set[int]:
    if allowed is not None:
        documents = [id for (id,) in connection.execute(_ALLOWED, (allowed,))]
        within = numpy.isin(ids >> ORDINAL_BITS, numpy.array(documents, dtype=numpy.int64))
        ids, cosines = ids[within], cosines[within]
    if len(ids) > depth:
        ids = ids[numpy.argpartition(cosines, len(cosines) - depth)[-depth:]]
    return {int(id) for id in ids}


def _look_up(ids: Ids, cosines: Vectors, chosen: set[int]) -> dict[int, float]:
    if not len(ids):
        return {}
    wanted = numpy.array(sorted(chosen), dtype=numpy.int64)
    places = numpy.minimum(numpy.searchsorted(ids, wanted), len(ids) - 1)
    return {int(id): float(cosines[place]) for id, place in zip(wanted, places, strict=True) if ids[place] == id}


def _bytes(matrix: Matrix) -> int:
    return matrix.ids.nbytes + matrix.rows.nbytes
