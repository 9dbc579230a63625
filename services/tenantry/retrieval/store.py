"""What retrieval asks of a store of documents; `store_sqlite` and `store_weaviate` do it, and one contract suite runs on both.

A store keeps tenants apart by the file or shard that it opens, never by a condition on rows. Whatever is asked for a tenant
that was not provisioned is refused (FailedPrecondition TENANT_NOT_PROVISIONED), and nothing but `provision` makes one.
A store that can't be reached is StoreUnavailable (transient), one that refuses what we ask StoreFailed (not transient).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy
from numpy.typing import NDArray

from tenantry.kit.owner import Tenant
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.limits import Limits

Vectors = NDArray[numpy.float32]


@dataclass(frozen=True, slots=True)
class Key:
    """A document's name within its tenant."""

    collection: str
    document: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is listed. `fingerprint` covers all that decides what is stored of it; `updated_ns` is Unix time."""

    key: Key
    title: str
    size_bytes: int
    passages: int
    fingerprint: bytes
    updated_ns: int


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: words for BM25, a vector of unit length for cosines, each giving up to `depth` candidates.

    `collections` are the only ones searched; None means all. Of the candidates the `limit` best are wanted; None means all.
    """

    words: tuple[str, ...]
    vector: Vectors
    collections: tuple[str, ...] | None
    depth: int
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that one of the two searches found, with its score in both and the one that `fusion` makes of them."""

    key: Key
    title: str
    passage: Passage
    bm25: float
    cosine: float
    score: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """A number that changes with every change of the tenant's documents, and never comes back, not even for a tenant that
    was deleted and made again. While `changing`, what is read may be of the time before or after."""

    number: int
    changing: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates in no order, maybe more than were wanted, and the epoch of what was searched."""

    candidates: list[Candidate]
    epoch: int


class DocumentStore(Protocol):
    """Documents and passages by tenant."""

    async def provision(self, tenant: Tenant) -> bool:
        """Make the tenant's file or shard; False if it was there. FailedPrecondition if another organisation has the id."""
        ...

    async def deprovision(self, tenant: Tenant) -> int | None:
        """Delete all that is kept of the tenant: how many documents that were, None if there was no such tenant."""
        ...

    async def find(self, tenant: Tenant, key: Key) -> Document | None:
        """A document without its text."""
        ...

    async def put(
        self, tenant: Tenant, document: Document, passages: Sequence[Passage], vectors: Vectors, limits: Limits
    ) -> bool:
        """Store the document in place of the one with its key, as one thing: True if there was none.

        It is on disk when this returns. ResourceExhausted TOO_MANY when the tenant would have more than `limits`.
        """
        ...

    async def delete(self, tenant: Tenant, key: Key) -> bool:
        """Delete a document and its passages; False if there was none."""
        ...

    async def list(
        self, tenant: Tenant, collections: tuple[str, ...] | None, after: Key | None, size: int
    ) -> list[Document]:
        """Up to `size` documents behind `after`, by collection and id; of all collections when None."""
        ...

    async def search(self, tenant: Tenant, query: Query) -> Found:
        """The best passages by words and by vector."""
        ...

    async def epoch(self, tenant: Tenant) -> Epoch:
        """The epoch of the tenant's documents now."""
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of files and connections."""
        ...
