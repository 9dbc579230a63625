"""What every store of documents does."""

import asyncio
from collections.abc import Callable

import numpy
import pytest

from tenantry.kit.errors import FailedPrecondition, Reason, ResourceExhausted
from tenantry.kit.owner import Tenant
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.limits import Limits
from tenantry.retrieval.store import Document, DocumentStore, Found, Key, Query, Vectors
from tests.contract.retrieval.opened import Open, axis, put

ODD_IDS = [
    "../../etc/passwd",
    "a/b",
    "..",
    "acme.db",
    'x" OR "y',
    "x' OR '1'='1",
    "%",
    "*",
    "ключ",
    "🙂",
    "a\u00e9",
    "ae\u0301",
    "A",
    "a",
    "a b",
    "{}",
    "x" * 200,
]


EAST, NORTH, UP = axis(1), axis(0, 1), axis(0, 0, 1)


async def search(
    store: DocumentStore,
    tenant: Tenant,
    *words: str,
    near: Vectors = EAST,
    collections: tuple[str, ...] | None = None,
    depth: int = 50,
) -> Found:
    return await store.search(tenant, Query(words, near, collections, depth))


def texts(found: Found) -> set[str]:
    return {candidate.passage.text for candidate in found.candidates}


A, B = Key("default", "a"), Key("default", "b")


async def test_a_document_is_found_by_its_words_and_by_its_vector(store: DocumentStore, tenant: Tenant) -> None:
    await put(store, tenant, A, ["the holiday rules", "the travel rules"], [EAST, NORTH])
    found = await search(store, tenant, "holiday", near=axis(0.6, 0.8))
    by_text = {candidate.passage.text: candidate for candidate in found.candidates}
    assert by_text.keys() == {"the holiday rules", "the travel rules"}
    holiday, travel = by_text["the holiday rules"], by_text["the travel rules"]
    assert holiday.bm25 > 0 and travel.bm25 == 0
    assert holiday.cosine == pytest.approx(0.6, abs=2e-3) and travel.cosine == pytest.approx(0.8, abs=2e-3)
    assert (holiday.key, holiday.title, holiday.passage.ordinal) == (A, "title of a", 0)


async def test_every_candidate_has_its_cosine_even_far_from_the_nearest(store: DocumentStore, tenant: Tenant) -> None:
    near = [f"near {place}" for place in range(10)]
    await put(store, tenant, A, [*near, "far holiday"], [*[EAST] * 10, axis(0.28, 0.96)])
    found = await search(store, tenant, "holiday", near=EAST, depth=3)
    far = next(candidate for candidate in found.candidates if candidate.passage.text == "far holiday")
    assert far.cosine == pytest.approx(0.28, abs=2e-3)
    assert len(found.candidates) == 4


async def test_headings_and_titles_are_searched_too(store: DocumentStore, tenant: Tenant) -> None:
    document = Document(A, "Reimbursement", 4, 1, b"f", 1)
    await store.put(tenant, document, [Passage(0, "Taxis › Abroad", "text")], numpy.stack([EAST]), Limits())
    for word in ("reimbursement", "abroad", "taxis"):
        found = await search(store, tenant, word, near=UP)
        assert [candidate.bm25 > 0 for candidate in found.candidates] == [True], word
        assert found.candidates[0].passage.heading == "Taxis › Abroad"


async def test_words_that_nothing_has_find_only_by_vector(store: DocumentStore, tenant: Tenant) -> None:
    await put(store, tenant, A, ["something"])
    assert [c.bm25 for c in (await search(store, tenant, "absent")).candidates] == [0.0]
    assert [c.bm25 for c in (await search(store, tenant)).candidates] == [0.0]


async def test_an_empty_tenant_finds_nothing(store: DocumentStore, tenant: Tenant) -> None:
    assert (await search(store, tenant, "holiday")).candidates == []


@pytest.mark.parametrize(
    "words", [('"',), ("*",), ("b", "OR", "c"), ("NEAR(x y)",), ("heading:x",), ("-x",), ("(",), ("x^2",), ("{b}",)]
)
async def test_no_word_means_anything_to_the_engine(store: DocumentStore, tenant: Tenant, words: tuple[str]) -> None:
    await put(store, tenant, A, ["plain text"])
    assert [candidate.bm25 for candidate in (await search(store, tenant, *words)).candidates] == [0.0]


async def test_an_update_replaces_all_passages_of_the_document(store: DocumentStore, tenant: Tenant) -> None:
    assert await put(store, tenant, A, ["old one", "old two", "old three"]) is True
    assert await put(store, tenant, A, ["new one"]) is False
    assert texts(await search(store, tenant, "old", "new")) == {"new one"}
    assert [document.passages for document in await store.list(tenant, None, None, 10)] == [1]


async def test_a_deleted_document_is_gone(store: DocumentStore, tenant: Tenant) -> None:
    await put(store, tenant, A, ["holiday"])
    await put(store, tenant, B, ["travel"])
    assert await store.delete(tenant, A) is True
    assert await store.delete(tenant, A) is False
    assert texts(await search(store, tenant, "holiday", "travel")) == {"travel"}
    assert await store.find(tenant, A) is None


async def test_a_document_comes_back_as_it_was_put(store: DocumentStore, tenant: Tenant) -> None:
    await put(store, tenant, A, ["holiday", "travel"])
    found = await store.find(tenant, A)
    assert found == Document(A, "title of a", 13, 2, b"holiday travel", 1_700_000_000_123_456_789)


async def test_documents_are_listed_by_collection_and_id_in_pages(store: DocumentStore, tenant: Tenant) -> None:
    keys = [Key("a", "2"), Key("b", "1"), Key("a", "10"), Key("c", "0"), Key("a", "1")]
    for key in keys:
        await put(store, tenant, key, ["x"])
    first = [document.key for document in await store.list(tenant, None, None, 3)]
    second = [document.key for document in await store.list(tenant, None, first[-1], 3)]
    assert first + second == sorted(keys, key=lambda key: (key.collection, key.document))
    only = await store.list(tenant, ("a", "c"), Key("a", "10"), 10)
    assert [document.key for document in only] == [Key("a", "2"), Key("c", "0")]


async def test_only_the_named_collections_are_searched(store: DocumentStore, tenant: Tenant) -> None:
    await put(store, tenant, Key("public", "a"), ["holiday in public"])
    await put(store, tenant, Key("board", "a"), ["holiday in secret"])
    assert texts(await search(store, tenant, "holiday", collections=("public",))) == {"holiday in public"}
    assert texts(await search(store, tenant, "secret", collections=("public",), depth=1)) == {"holiday in public"}
    assert texts(await search(store, tenant, "holiday", collections=("absent",))) == set()
    assert len(texts(await search(store, tenant, "holiday", collections=("public", "board")))) == 2


async def test_tenants_do_not_see_each_other(
    store: DocumentStore, tenant: Tenant, new_tenant: Callable[[], Tenant]
) -> None:
    other = new_tenant()
    await store.provision(other)
    await put(store, tenant, A, ["holiday of one"])
    await put(store, other, A, ["holiday of another"])
    assert texts(await search(store, tenant, "holiday")) == {"holiday of one"}
    assert texts(await search(store, other, "holiday")) == {"holiday of another"}
    assert await store.delete(other, A) is True
    assert texts(await search(store, tenant, "holiday")) == {"holiday of one"}
    assert await store.deprovision(other) == 0
    assert texts(await search(store, tenant, "holiday")) == {"holiday of one"}


@pytest.mark.parametrize("id", ODD_IDS)
async def test_ids_mean_nothing_but_themselves(store: DocumentStore, tenant: Tenant, id: str) -> None:
    for other in ODD_IDS[:6]:
        await put(store, tenant, Key("default", other), [f"text of {other}"])
    await put(store, tenant, Key("default", id), ["replaced"])
    assert (await store.list(tenant, ("default",), None, 50)).__len__() == 6 + (id not in ODD_IDS[:6])
    assert await store.delete(tenant, Key("default", id)) is True
    assert texts(await search(store, tenant)) == {f"text of {other}" for other in ODD_IDS[:6] if other != id}


async def test_nothing_is_done_for_a_tenant_that_was_not_provisioned(
    store: DocumentStore, new_tenant: Callable[[], Tenant]
) -> None:
    absent = new_tenant()
    for call in (
        lambda: put(store, absent, A, ["x"]),
        lambda: store.delete(absent, A),
        lambda: store.find(absent, A),
        lambda: store.list(absent, None, None, 1),
        lambda: search(store, absent, "x"),
        lambda: store.epoch(absent),
    ):
        with pytest.raises(FailedPrecondition) as refused:
            await call()
        assert refused.value.reason is Reason.TENANT_NOT_PROVISIONED
    assert await store.deprovision(absent) is None
    assert await store.provision(absent) is True, "one of the calls has made it"
    await store.deprovision(absent)


async def test_provisioning_again_does_nothing_and_another_organisation_is_refused(
    store: DocumentStore, tenant: Tenant
) -> None:
    await put(store, tenant, A, ["holiday"])
    assert await store.provision(tenant) is False
    assert texts(await search(store, tenant, "holiday")) == {"holiday"}
    stranger = Tenant("evil-org", tenant.id)
    with pytest.raises(FailedPrecondition) as refused:
        await store.provision(stranger)
    assert refused.value.reason is Reason.STORE_UNFIT
    with pytest.raises(FailedPrecondition):
        await search(store, stranger, "holiday")
    assert await store.deprovision(stranger) is None
    assert texts(await search(store, tenant, "holiday")) == {"holiday"}


async def test_a_tenant_made_again_is_empty_and_its_epoch_is_new(store: DocumentStore, tenant: Tenant) -> None:
    await put(store, tenant, A, ["holiday"])
    before = await store.epoch(tenant)
    assert await store.deprovision(tenant) == 1
    assert await store.provision(tenant) is True
    assert (await search(store, tenant, "holiday")).candidates == []
    assert await store.list(tenant, None, None, 10) == []
    assert (await store.epoch(tenant)).number > before.number


async def test_the_epoch_changes_with_what_is_stored_and_only_then(store: DocumentStore, tenant: Tenant) -> None:
    seen = [await store.epoch(tenant)]
    await put(store, tenant, A, ["one"])
    seen.append(await store.epoch(tenant))
    await put(store, tenant, A, ["two"])
    seen.append(await store.epoch(tenant))
    await store.delete(tenant, A)
    seen.append(await store.epoch(tenant))
    assert len({epoch.number for epoch in seen}) == 4 and seen[0].number >= 1
    assert not any(epoch.changing for epoch in seen)
    await store.delete(tenant, A)
    found = await search(store, tenant, "one")
    assert await store.epoch(tenant) == seen[-1] and found.epoch == seen[-1].number


async def test_a_tenant_may_keep_so_many_documents_and_bytes(store: DocumentStore, tenant: Tenant) -> None:
    limits = Limits(documents=2, bytes=20)
    await put(store, tenant, A, ["12345678"], limits=limits)
    with pytest.raises(ResourceExhausted) as refused:
        await put(store, tenant, B, ["1234567890123"], limits=limits)
    assert refused.value.reason is Reason.TOO_MANY
    assert refused.value.metadata == {"kind": "document bytes", "limit": "20"}
    await put(store, tenant, B, ["1234567"], limits=limits)
    with pytest.raises(ResourceExhausted) as refused:
        await put(store, tenant, Key("default", "c"), ["1"], limits=limits)
    assert refused.value.metadata == {"kind": "documents", "limit": "2"}
    assert await put(store, tenant, A, ["123456789"], limits=limits) is False
    assert await put(store, tenant, A, ["1"], limits=Limits(documents=1, bytes=1)) is False
    assert not (await store.epoch(tenant)).changing


async def test_a_document_of_thousands_of_passages_is_one_thing(store: DocumentStore, tenant: Tenant) -> None:
    many = [f"passage word{place}" for place in range(3000)]
    await put(store, tenant, A, many)
    assert "passage word2999" in texts(await search(store, tenant, "word2999", near=UP, depth=5))
    assert await put(store, tenant, A, ["few"]) is False
    assert texts(await search(store, tenant, "passage")) == {"few"}


async def test_whoever_searches_sees_an_old_document_or_a_new_one(store: DocumentStore, tenant: Tenant) -> None:
    def version(number: int) -> list[str]:
        return [f"version {number} part {part}" for part in range(8)]

    await put(store, tenant, A, version(0))
    ended = asyncio.Event()

    async def write() -> None:
        for number in range(1, 8):
            await put(store, tenant, A, version(number))
        ended.set()

    writing = asyncio.create_task(write())
    while not ended.is_set():
        seen = {text.split()[1] for text in texts(await search(store, tenant, "version", depth=20))}
        assert len(seen) <= 1, seen
    await writing
    assert texts(await search(store, tenant, "version", depth=20)) == set(version(7))


async def test_of_writers_at_once_one_wins_wholly(store: DocumentStore, tenant: Tenant) -> None:
    writers = [put(store, tenant, A, [f"writer {number} part {part}" for part in range(5)]) for number in range(5)]
    outcomes = await asyncio.gather(*writers)
    assert sorted(outcomes) == [False, False, False, False, True]
    found = texts(await search(store, tenant, "writer"))
    assert len(found) == 5 and len({text.split()[1] for text in found}) == 1
    assert not (await store.epoch(tenant)).changing


async def test_a_put_whose_caller_goes_away_is_done_wholly(store: DocumentStore, tenant: Tenant) -> None:
    for number in range(5):
        task = asyncio.create_task(put(store, tenant, A, [f"number {number} part {part}" for part in range(20)]))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await put(store, tenant, B, ["after"])
    found = texts(await search(store, tenant, "number", near=UP))
    assert len({text.split()[1] for text in found if text != "after"}) <= 1


async def test_replicas_see_each_others_writes_at_once(open_store: Open, new_tenant: Callable[[], Tenant]) -> None:
    one, other, tenant = await open_store(), await open_store(), new_tenant()
    await one.provision(tenant)
    assert await other.provision(tenant) is False
    await put(one, tenant, A, ["holiday one"], [EAST])
    assert texts(await search(other, tenant, "holiday")) == {"holiday one"}
    await put(other, tenant, A, ["holiday two"], [NORTH])
    assert (await search(one, tenant, "holiday", near=NORTH)).candidates[0].cosine == pytest.approx(1, abs=1e-3)
    assert texts(await search(one, tenant, "holiday")) == {"holiday two"}
    assert await one.epoch(tenant) == await other.epoch(tenant)


async def test_replicas_notice_a_deletion_and_a_new_beginning(
    open_store: Open, new_tenant: Callable[[], Tenant]
) -> None:
    one, other, tenant = await open_store(), await open_store(), new_tenant()
    await one.provision(tenant)
    for store in (one, other):
        await put(store, tenant, A, ["holiday of old"])
        await search(store, tenant, "holiday")
    assert await one.deprovision(tenant) == 1
    for call in (lambda: search(other, tenant, "holiday"), lambda: put(other, tenant, B, ["x"])):
        with pytest.raises(FailedPrecondition):
            await call()
    await one.provision(tenant)
    await put(one, tenant, A, ["holiday of new"])
    assert texts(await search(other, tenant, "holiday")) == {"holiday of new"}
    await put(other, tenant, B, ["holiday of other"])
    reopened = await open_store()
    assert texts(await search(reopened, tenant, "holiday")) == {"holiday of new", "holiday of other"}
    await one.deprovision(tenant)


async def test_more_tenants_than_files_may_be_open_are_served_at_once(
    store: DocumentStore, new_tenant: Callable[[], Tenant]
) -> None:
    tenants = [new_tenant() for _ in range(10)]
    await asyncio.gather(*(store.provision(tenant) for tenant in tenants))
    for round in range(2):
        await asyncio.gather(*(put(store, tenant, A, [f"mark {tenant.id} {round}"]) for tenant in tenants))
        found = await asyncio.gather(*(search(store, tenant, "mark") for tenant in tenants))
        assert [texts(one) for one in found] == [{f"mark {tenant.id} {round}"} for tenant in tenants]
    await asyncio.gather(*(store.deprovision(tenant) for tenant in tenants))
