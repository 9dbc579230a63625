"""What is done with a document that was sent."""

import asyncio
from collections.abc import Sequence

import numpy
import pytest

from tenantry.kit.errors import InvalidArgument, PermissionDenied, ResourceExhausted
from tenantry.kit.owner import Tenant
from tenantry.retrieval.allowed import Allowed
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.documents import (
    MAX_LINES,
    Documents,
    Format,
    Outcome,
    Sent,
    check_key,
    check_title,
    decode,
    embedded_text,
    fingerprint_of,
)
from tenantry.retrieval.limits import Limits, Totals, check_room
from tenantry.retrieval.store import Document, Key, Vectors
from tenantry.retrieval.turns import Turns
from tests.harness.clock import FrozenClock

ACME = Tenant("acme-org", "acme")


class Kept:
    """A store of one dictionary, with what these tests ask of it."""

    def __init__(self) -> None:
        self.documents: dict[Key, Document] = {}
        self.puts = 0

    async def find(self, tenant: Tenant, key: Key) -> Document | None:
        return self.documents.get(key)

    async def put(
        self, tenant: Tenant, document: Document, passages: Sequence[Passage], vectors: Vectors, limits: Limits
    ) -> bool:
        assert len(passages) == len(vectors) == document.passages
        self.puts += 1
        new = document.key not in self.documents
        self.documents[document.key] = document
        return new


class Ones:
    """An embedder that counts."""

    name = "ones"

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return numpy.ones((len(texts), 4), numpy.float32)


def sent(text: str = "# Title\n\ntext", document: str = "d", title: str = "", format: Format = Format.MARKDOWN) -> Sent:
    return Sent("", document, title, format, text.encode())


async def test_the_same_document_is_neither_embedded_nor_stored_again(clock: FrozenClock) -> None:
    store, embedder = Kept(), Ones()
    documents = Documents(store, embedder, clock, Limits())  # pyright: ignore[reportArgumentType]
    assert (await documents.upsert(ACME, Allowed(), sent())).outcome is Outcome.CREATED
    assert (await documents.upsert(ACME, Allowed(), sent())).outcome is Outcome.UNCHANGED
    assert (store.puts, len(embedder.texts)) == (1, 1)
    for changed in (sent("# Title\n\nother"), sent("# Title\n\nother", title="T"), sent(format=Format.TEXT)):
        assert (await documents.upsert(ACME, Allowed(), changed)).outcome is Outcome.UPDATED
    documents.close()


async def test_the_title_is_the_given_one_else_the_first_heading_else_the_id(clock: FrozenClock) -> None:
    store = Kept()
    documents = Documents(store, Ones(), clock, Limits())  # pyright: ignore[reportArgumentType]
    for one in (
        sent("text\n\n## Later *heading*\n\n# Other", "a"),
        sent("# Heading", "b", "Given"),
        sent("text", "c"),
        sent("# no", "d", format=Format.TEXT),
    ):
        await documents.upsert(ACME, Allowed(), one)
    titles = {key.document: document.title for key, document in store.documents.items()}
    assert titles == {"a": "Later heading", "b": "Given", "c": "c", "d": "d"}
    documents.close()


def test_every_part_of_a_document_is_in_its_fingerprint() -> None:
    key = Key("c", "d")
    prints = {
        fingerprint_of(key, "t", sent("x"), "e"),
        fingerprint_of(Key("cd", ""), "t", sent("x"), "e"),
        fingerprint_of(Key("", "cd"), "t", sent("x"), "e"),
        fingerprint_of(key, "", sent("tx"), "e"),
        fingerprint_of(key, "t", sent("x", format=Format.TEXT), "e"),
        fingerprint_of(key, "t", sent("x"), "f"),
    }
    assert len(prints) == 6


def test_a_text_is_read_as_it_was_meant() -> None:
    assert decode(b"\xef\xbb\xbfa\r\nb\rc\n") == "a\nb\nc\n"
    assert decode(b"\n" * MAX_LINES + b"x").endswith("x")
    for bad in (b"\xff", b"a\0", b" \n", b"x\n" * (MAX_LINES + 1)):
        with pytest.raises(InvalidArgument) as refused:
            decode(bad)
        assert refused.value.violations[0][0] == "text"


def test_ids_and_titles_are_refused_and_never_changed() -> None:
    assert check_key("", "ä/ö.md") == Key("default", "ä/ö.md")
    assert check_key("a", "x" * 200) == Key("a", "x" * 200)
    for bad in ("", "ä" * 101, "a\tb", "a\u2028b", "\u202ex", "x\u00a0", " x", "\ufeffx"):
        with pytest.raises(InvalidArgument):
            check_key("a", bad)
    assert check_title("é" * 300)
    for bad in ("x" * 301, "a\nb", "\0"):
        with pytest.raises(InvalidArgument):
            check_title(bad)


def test_what_is_embedded_names_the_title_once() -> None:
    assert embedded_text("Handbook", Passage(0, "Handbook › Leave", "28 days")) == "Handbook › Leave\n28 days"
    assert embedded_text("Handbook", Passage(0, "Leave", "28 days")) == "Handbook Leave\n28 days"
    assert embedded_text("Handbook", Passage(0, "", "28 days")) == "Handbook\n28 days"


def test_a_restricted_key_chooses_among_its_own_collections() -> None:
    assert Allowed().choose(()) is None
    assert Allowed().choose(("a",)) == ("a",)
    assert Allowed(("a", "b")).choose(()) == ("a", "b")
    assert Allowed(("a", "b")).choose(("b",)) == ("b",)
    with pytest.raises(PermissionDenied) as refused:
        Allowed(("a", "b")).choose(("b", "c"))
    assert refused.value.metadata == {"collection": "c"}


def test_what_is_too_much_may_become_less_but_not_more() -> None:
    limits = Limits(documents=2, bytes=100)
    check_room(Totals(2, 100), Totals(2, 100), limits)
    check_room(Totals(9, 900), Totals(9, 899), limits)
    for then in (Totals(3, 10), Totals(2, 101)):
        with pytest.raises(ResourceExhausted):
            check_room(Totals(2, 100), then, limits)
    with pytest.raises(ResourceExhausted):
        check_room(Totals(9, 900), Totals(9, 901), limits)


async def test_a_tenant_that_sends_much_does_not_keep_another_waiting() -> None:
    turns, order, release = Turns(asyncio.Semaphore(3), of_one=2), list[str](), asyncio.Event()

    async def work(tenant: str) -> None:
        async with turns.turn(Tenant("o", tenant)):
            order.append(tenant)
            await release.wait()

    greedy = [asyncio.create_task(work("greedy")) for _ in range(10)]
    await asyncio.sleep(0)
    other = asyncio.create_task(work("other"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == ["greedy", "greedy", "other"]
    release.set()
    await asyncio.gather(*greedy, other)
    assert order.count("greedy") == 10
