"""DocumentService as its callers see it."""

from collections.abc import AsyncIterator

import pytest

from tenantry.api.common.v1.paging_pb2 import PageRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import DeprovisionTenantRequest, ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.kit.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    Reason,
    TenantryError,
    Unauthenticated,
)
from tests.harness.room import Served, caller_of

SCOPES = {"documents.read", "documents.write"}
ACME = caller_of("acme", "acme-org", scopes=SCOPES)
GLOBEX = caller_of("globex", "globex-org", scopes=SCOPES)
HANDBOOK = b"# Handbook\n\n## Holidays\n\nEveryone has 28 days of holiday.\n\n## Travel\n\nThe office books trains.\n"


def sent(document: str, text: bytes = HANDBOOK, **more: str) -> pb.UpsertDocumentsRequest:
    return pb.UpsertDocumentsRequest(document=document, text=text, **more)  # pyright: ignore[reportArgumentType]


async def upsert(room: Served, *requests: pb.UpsertDocumentsRequest) -> list[pb.UpsertDocumentsResponse]:
    async def stream() -> AsyncIterator[pb.UpsertDocumentsRequest]:
        for request in requests:
            yield request

    return [answer async for answer in DocumentServiceStub(room.channel()).UpsertDocuments(stream())]


async def search(room: Served, query: str, **more: object) -> pb.SearchPassagesResponse:
    request = pb.SearchPassagesRequest(query=query, **more)  # pyright: ignore[reportArgumentType]
    return await DocumentServiceStub(room.channel()).SearchPassages(request)


async def test_what_was_upserted_is_found_with_its_place(retrieval: Served) -> None:
    with retrieval.calling(ACME):
        [answer] = await upsert(retrieval, sent("handbook.md"))
        assert (answer.collection, answer.document, answer.outcome) == (
            "default",
            "handbook.md",
            pb.UPSERT_OUTCOME_CREATED,
        )
        found = await search(retrieval, "How many days of holiday do I have?")
    best = found.passages[0]
    assert (best.document, best.title, best.ordinal) == ("handbook.md", "Handbook", 0)
    assert "28 days" in best.text and 0 < best.score <= 1


async def test_sending_the_same_again_changes_nothing(retrieval: Served) -> None:
    gateway = DocumentServiceStub(retrieval.channel(service="gateway"))
    with retrieval.calling(ACME):
        await upsert(retrieval, sent("handbook.md"))
        before = await gateway.GetDocumentsEpoch(pb.GetDocumentsEpochRequest())
        [again] = await upsert(retrieval, sent("handbook.md"))
        after = await gateway.GetDocumentsEpoch(pb.GetDocumentsEpochRequest())
        [changed] = await upsert(retrieval, sent("handbook.md", HANDBOOK + b"\nNew.\n"))
        later = await gateway.GetDocumentsEpoch(pb.GetDocumentsEpochRequest())
    assert (again.outcome, again.passages) == (pb.UPSERT_OUTCOME_UNCHANGED, 1)
    assert before.documents_epoch == after.documents_epoch >= 1 and not after.changing
    assert changed.outcome == pb.UPSERT_OUTCOME_UPDATED
    assert later.documents_epoch > after.documents_epoch


BAD = [
    (sent("empty.md", b""), "text", "is empty"),
    (sent("blank.md", b" \n\t\n"), "text", "holds no text"),
    (sent("latin1.md", "Straße".encode("latin-1")), "text", "is not UTF-8 at byte 4"),
    (sent("binary.md", b"a\0b"), "text", "NUL"),
    (sent("large.md", b"x" * (3 * 1024 * 1024 + 1)), "text", "3145729 bytes, more than 3145728"),
    (sent("lines.md", b"x\n" * 100_002), "text", "more than 100000 lines"),
    (sent(""), "document", "is missing"),
    (sent(" x"), "document", "no white space at its ends"),
    (sent("a\nb"), "document", "printable characters only"),
    (sent("x" * 201), "document", "longer than 200 bytes"),
    (sent("a.md", collection="Not A Name"), "collection", "hyphens"),
    (sent("a.md", title="t" * 301), "title", "longer than 300"),
    (pb.UpsertDocumentsRequest(document="a.md", text=b"x", format=7), "format", "FORMAT_TEXT"),  # pyright: ignore
]


async def test_each_bad_document_is_refused_by_its_field_and_the_stream_goes_on(retrieval: Served) -> None:
    with retrieval.calling(ACME):
        *refused, stored = await upsert(retrieval, *(request for request, _, _ in BAD), sent("good.md"))
        listed = await DocumentServiceStub(retrieval.channel()).ListDocuments(pb.ListDocumentsRequest())
    for answer, (_, field, words) in zip(refused, BAD, strict=True):
        assert (answer.outcome, answer.field) == (pb.UPSERT_OUTCOME_REFUSED, field)
        assert words in answer.description
    assert stored.outcome == pb.UPSERT_OUTCOME_CREATED
    assert [document.document for document in listed.documents] == ["good.md"]


async def test_a_document_of_32_mb_is_refused_as_too_large_and_what_came_before_is_stored(retrieval: Served) -> None:
    with retrieval.calling(ACME):
        stream = DocumentServiceStub(retrieval.channel()).UpsertDocuments(
            _requests(sent("good.md"), sent("huge.md", b"x" * 32_000_000))
        )
        answers: list[pb.UpsertDocumentsResponse] = []
        with pytest.raises(TenantryError) as refused:
            async for answer in stream:
                answers.append(answer)
        assert refused.value.reason is Reason.TOO_LARGE
        assert [answer.document for answer in answers] in (["good.md"], [])
        listed = await DocumentServiceStub(retrieval.channel()).ListDocuments(pb.ListDocumentsRequest())
    assert {document.document for document in listed.documents} <= {"good.md"}
    assert len(listed.documents) >= len(answers)


async def _requests(*requests: pb.UpsertDocumentsRequest) -> AsyncIterator[pb.UpsertDocumentsRequest]:
    for request in requests:
        yield request


async def test_a_deleted_document_is_not_found_any_more(retrieval: Served) -> None:
    stub = DocumentServiceStub(retrieval.channel())
    with retrieval.calling(ACME):
        await upsert(retrieval, sent("handbook.md"))
        first = await stub.DeleteDocument(pb.DeleteDocumentRequest(document="handbook.md"))
        second = await stub.DeleteDocument(pb.DeleteDocumentRequest(document="handbook.md"))
        found = await search(retrieval, "holiday")
    assert (first.deleted_now, second.deleted_now) == (True, False)
    assert not found.passages


async def test_documents_are_listed_in_pages_by_collection_and_id(retrieval: Served) -> None:
    stub = DocumentServiceStub(retrieval.channel())
    names = [("a", "2"), ("a", "1"), ("b", "0"), ("a", "10")]
    with retrieval.calling(ACME):
        await upsert(retrieval, *(sent(document, collection=collection) for collection, document in names))
        token, seen = "", list[tuple[str, str]]()
        while True:
            page = await stub.ListDocuments(pb.ListDocumentsRequest(page=PageRequest(size=3, token=token)))
            seen += [(document.collection, document.document) for document in page.documents]
            token = page.page.next_token
            if not token:
                break
        only = await stub.ListDocuments(pb.ListDocumentsRequest(collection="b"))
        with pytest.raises(InvalidArgument):
            await stub.ListDocuments(pb.ListDocumentsRequest(page=PageRequest(token="nonsense")))
    assert seen == [("a", "1"), ("a", "10"), ("a", "2"), ("b", "0")]
    assert [document.document for document in only.documents] == ["0"]
    assert only.documents[0].size_bytes == len(HANDBOOK) and only.documents[0].update_time.seconds > 1_700_000_000


async def test_a_bad_query_names_its_field(retrieval: Served) -> None:
    stub = DocumentServiceStub(retrieval.channel())
    for request, field in (
        (pb.SearchPassagesRequest(query=""), "query"),
        (pb.SearchPassagesRequest(query=" \t"), "query"),
        (pb.SearchPassagesRequest(query="x" * 8193), "query"),
        (pb.SearchPassagesRequest(query="x", limit=51), "limit"),
        (pb.SearchPassagesRequest(query="x", limit=-1), "limit"),
        (pb.SearchPassagesRequest(query="x", collections=["ok", "../x"]), "collections[1]"),
        (pb.SearchPassagesRequest(query="x", collections=["c"] * 65), "collections"),
    ):
        with retrieval.calling(ACME), pytest.raises(InvalidArgument) as refused:
            await stub.SearchPassages(request)
        assert [name for name, _ in refused.value.violations] == [field]


async def test_a_tenant_that_was_not_provisioned_gets_no_place(retrieval: Served) -> None:
    stub = DocumentServiceStub(retrieval.channel())
    with retrieval.calling(caller_of("initech", "initech-org", scopes=SCOPES)):
        for call in (
            lambda: upsert(retrieval, sent("a.md")),
            lambda: search(retrieval, "holiday"),
            lambda: stub.ListDocuments(pb.ListDocumentsRequest()),
            lambda: stub.DeleteDocument(pb.DeleteDocumentRequest(document="a.md")),
        ):
            with pytest.raises(FailedPrecondition) as refused:
                await call()
            assert refused.value.reason is Reason.TENANT_NOT_PROVISIONED


async def test_deprovisioning_deletes_everything_and_may_be_repeated(retrieval: Served) -> None:
    lifecycle = LifecycleServiceStub(retrieval.channel(service="tenancy"))
    named = DeprovisionTenantRequest(tenant="acme", organisation="acme-org")
    with retrieval.calling(ACME):
        await upsert(retrieval, sent("a.md"), sent("b.md"))
    with retrieval.calling(None):
        assert (await lifecycle.DeprovisionTenant(named)).did == "deleted 2 documents"
        assert (await lifecycle.DeprovisionTenant(named)).did == "nothing to do"
    with retrieval.calling(ACME), pytest.raises(FailedPrecondition):
        await search(retrieval, "holiday")
    with retrieval.calling(None):
        again = ProvisionTenantRequest(tenant="acme", organisation="acme-org", tier="free")
        assert (await lifecycle.ProvisionTenant(again)).did == "made a place for documents"
        assert (await lifecycle.ProvisionTenant(again)).did == "nothing to do"
        again.organisation = "evil-org"
        with pytest.raises(FailedPrecondition):
            await lifecycle.ProvisionTenant(again)
    with retrieval.calling(ACME):
        assert not (await search(retrieval, "holiday")).passages


async def test_a_key_restricted_to_collections_touches_no_other(retrieval: Served) -> None:
    stub = DocumentServiceStub(retrieval.channel())
    with retrieval.calling(ACME):
        await upsert(retrieval, sent("open.md", collection="public"), sent("secret.md", collection="board"))
    with retrieval.calling(caller_of("acme", "acme-org", scopes=SCOPES, collections=("public",))):
        found = await search(retrieval, "holiday")
        listed = await stub.ListDocuments(pb.ListDocumentsRequest())
        for call in (
            lambda: search(retrieval, "holiday", collections=["board"]),
            lambda: search(retrieval, "holiday", collections=["public", "board"]),
            lambda: upsert(retrieval, sent("x.md", collection="board")),
            lambda: upsert(retrieval, sent("x.md")),
            lambda: stub.DeleteDocument(pb.DeleteDocumentRequest(collection="board", document="secret.md")),
            lambda: stub.ListDocuments(pb.ListDocumentsRequest(collection="board")),
        ):
            with pytest.raises(PermissionDenied) as refused:
                await call()
            assert refused.value.reason is Reason.COLLECTION_DENIED
    assert {passage.collection for passage in found.passages} == {"public"}
    assert [document.document for document in listed.documents] == ["open.md"]


async def test_each_rpc_wants_its_scope_and_the_epoch_the_gateway(retrieval: Served) -> None:
    stub = DocumentServiceStub(retrieval.channel())
    with retrieval.calling(caller_of("acme", "acme-org", scopes={"documents.read"})):
        with pytest.raises(PermissionDenied):
            await upsert(retrieval, sent("a.md"))
        with pytest.raises(PermissionDenied):
            await stub.DeleteDocument(pb.DeleteDocumentRequest(document="a.md"))
        with pytest.raises(Unauthenticated):
            await stub.GetDocumentsEpoch(pb.GetDocumentsEpochRequest())
    with retrieval.calling(caller_of("acme", "acme-org", scopes={"generate"})):
        with pytest.raises(PermissionDenied):
            await search(retrieval, "holiday")
        gateway = DocumentServiceStub(retrieval.channel(service="gateway"))
        assert not (await gateway.SearchPassages(pb.SearchPassagesRequest(query="holiday"))).passages
