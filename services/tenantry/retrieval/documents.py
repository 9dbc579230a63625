"""Storing, deleting and listing a tenant's documents: checks what came, cuts and embeds it, and saves it as one thing."""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import ParamSpec, TypeVar

from tenantry.kit.clock import Clock
from tenantry.kit.errors import InvalidArgument
from tenantry.kit.ids import check_name
from tenantry.kit.owner import Tenant
from tenantry.retrieval import chunking, markdown
from tenantry.retrieval.allowed import Allowed
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.embedder import Embedder
from tenantry.retrieval.limits import Limits
from tenantry.retrieval.store import Document, DocumentStore, Key
from tenantry.retrieval.turns import Turns

MAX_TEXT_BYTES = 3 * 1024 * 1024
MAX_LINES = 100_000
MAX_ID_BYTES = 200
MAX_TITLE_CHARS = 300
MAX_PASSAGES = 1 << 14
_THREADS = 2
_TURNS = 8
_TURNS_OF_ONE = 2

P = ParamSpec("P")
R = TypeVar("R")


class Format(StrEnum):
    """How a text is written."""

    MARKDOWN = "markdown"
    TEXT = "text"


class Outcome(StrEnum):
    """What was done with a document that was sent."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Sent:
    """A document as it came."""

    collection: str
    document: str
    title: str
    format: Format
    text: bytes


@dataclass(frozen=True, slots=True)
class Upserted:
    """What was done, and how many passages are stored."""

    outcome: Outcome
    passages: int


class Documents:
    """The documents of all tenants, one tenant at a time."""

    def __init__(self, store: DocumentStore, embedder: Embedder, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._embedder = embedder
        self._clock = clock
        self._limits = limits
        # A text of some megabytes takes milliseconds to read and up to seconds to cut.
        self._threads = ThreadPoolExecutor(_THREADS, "cut")
        self._turns = Turns(asyncio.Semaphore(_TURNS), _TURNS_OF_ONE)

    async def upsert(self, tenant: Tenant, allowed: Allowed, sent: Sent) -> Upserted:
        """Store a document unless it is stored already. InvalidArgument says what is wrong with it."""
        key = check_key(sent.collection, sent.document)
        allowed.check(key.collection)
        title = check_title(sent.title)
        check_size(sent.text)
        async with self._turns.turn(tenant):
            return await self._upsert(tenant, key, title, sent)

    async def _upsert(self, tenant: Tenant, key: Key, title: str, sent: Sent) -> Upserted:
        text, fingerprint = await self._in_thread(_read, key, title, sent, self._embedder.name)
        stored = await self._store.find(tenant, key)
        if stored is not None and stored.fingerprint == fingerprint:
            return Upserted(Outcome.UNCHANGED, stored.passages)
        heading, passages = await self._in_thread(_cut, text, sent.format)
        if not passages:
            raise InvalidArgument("text", "holds no text")
        if len(passages) > MAX_PASSAGES:
            raise InvalidArgument("text", f"makes more than {MAX_PASSAGES} passages; send it in parts")
        title = title or heading or key.document
        vectors = await self._embedder.embed([embedded_text(title, passage) for passage in passages])
        document = Document(key, title, len(sent.text), len(passages), fingerprint, self._clock.now_ns())
        new = await self._store.put(tenant, document, passages, vectors, self._limits)
        return Upserted(Outcome.CREATED if new else Outcome.UPDATED, len(passages))

    async def delete(self, tenant: Tenant, allowed: Allowed, collection: str, document: str) -> bool:
        """Delete a document; False if there was none."""
        key = check_key(collection, document)
        allowed.check(key.collection)
        return await self._store.delete(tenant, key)

    async def list(
        self, tenant: Tenant, allowed: Allowed, collection: str, after: Key | None, size: int
    ) -> tuple[list[Document], bool]:
        """A page of documents, and whether there are more."""
        named = (check_name(collection, "collection"),) if collection else ()
        found = await self._store.list(tenant, allowed.choose(named), after, size + 1)
        return found[:size], len(found) > size

    def close(self) -> None:
        """End the threads that read and cut."""
        self._threads.shutdown()

    async def _in_thread(self, work: Callable[P, R], *arguments: P.args, **more: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments, **more))


def check_key(collection: str, document: str) -> Key:
    """The key of a document, if collection and id have the right form."""
    collection = check_name(collection or "default", "collection")
    if not document:
        raise InvalidArgument("document", "is missing")
    if len(document.encode()) > MAX_ID_BYTES:
        raise InvalidArgument("document", f"is longer than {MAX_ID_BYTES} bytes")
    if not document.isprintable() or document != document.strip():
        raise InvalidArgument("document", "may hold printable characters only, and no white space at its ends")
    return Key(collection, document)


def check_title(title: str) -> str:
    """The title itself, if it may be one."""
    if len(title) > MAX_TITLE_CHARS:
        raise InvalidArgument("title", f"is longer than {MAX_TITLE_CHARS} characters")
    if not title.isprintable():
        raise InvalidArgument("title", "may hold printable characters only")
    return title.strip()


def check_size(text: bytes) -> None:
    """Refuse a text that is empty or too long."""
    if not text:
        raise InvalidArgument("text", "is empty")
    if len(text) > MAX_TEXT_BYTES:
        raise InvalidArgument("text", f"is {len(text)} bytes, more than {MAX_TEXT_BYTES}")


def decode(text: bytes) -> str:
    """The text, if it is one, its lines ended by a line feed."""
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument("text", f"is not UTF-8 at byte {error.start}") from None
    if "\0" in decoded:
        raise InvalidArgument("text", "holds a NUL character, so it is not a text")
    if not decoded.strip():
        raise InvalidArgument("text", "holds no text")
    decoded = decoded.replace("\r\n", "\n").replace("\r", "\n")
    if decoded.count("\n") > MAX_LINES:
        raise InvalidArgument("text", f"has more than {MAX_LINES} lines; send it in parts")
    return decoded


def fingerprint_of(key: Key, title: str, sent: Sent, embedder: str) -> bytes:
    """Of all that decides what is stored, each part counted, so that no two lists of parts are alike."""
    digest = hashlib.sha256()
    how = f"{chunking.VERSION} {embedder} {sent.format}"
    for part in (how.encode(), key.collection.encode(), key.document.encode(), title.encode(), sent.text):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def embedded_text(title: str, passage: Passage) -> str:
    """What the vector of a passage is made from: its words and where they stand."""
    heading = passage.heading if passage.heading.startswith(title) else f"{title} {passage.heading}"
    return f"{heading.strip()}\n{passage.text}"


def _read(key: Key, title: str, sent: Sent, embedder: str) -> tuple[str, bytes]:
    return decode(sent.text), fingerprint_of(key, title, sent, embedder)


def _cut(text: str, format: Format) -> tuple[str, list[Passage]]:
    parsed = markdown.markdown_blocks(text) if format is Format.MARKDOWN else markdown.text_blocks(text)
    return parsed.title, chunking.cut(parsed.blocks)
