"""Asking for another tenant's documents in every way that DocumentService allows."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

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
SECRET = "canaryacme"
TRICKS = [
    "../acme/default/secret",
    "acme/secret",
    "acme.db",
    "*",
    '" OR 1=1 --',
    "secret' OR tenant='acme",
    '{"operator":"Or"}',
    "secret\u2028",
]


@pytest.fixture
async def room(retrieval: Served) -> Served:
    """acme has a secret document, globex one of its own under the same name."""
    with retrieval.calling(ACME):
        await upsert(retrieval, "secret", f"# Plan\n\nThe takeover is called {SECRET}.")
    with retrieval.calling(GLOBEX):
        await upsert(retrieval, "secret", "# Plan\n\nglobexmark: nothing happens.")
    return retrieval


async def upsert(room: Served, document: str, text: str, collection: str = "") -> pb.UpsertDocumentsResponse:
    async def stream() -> AsyncIterator[pb.UpsertDocumentsRequest]:
        yield pb.UpsertDocumentsRequest(collection=collection, document=document, text=text.encode())

    [answer] = [one async for one in DocumentServiceStub(room.channel()).UpsertDocuments(stream())]
    return answer


async def everything(room: Served, query: str, collections: tuple[str, ...] = ()) -> str:
    """All that the current caller can get out of a search and a list."""
    stub = DocumentServiceStub(room.channel())
    found = await stub.SearchPassages(pb.SearchPassagesRequest(query=query, collections=collections, limit=50))
    listed = await stub.ListDocuments(pb.ListDocumentsRequest())
    return str(found) + str(listed)


async def test_a_search_never_reaches_another_tenant(room: Served) -> None:
    for query in (SECRET, f'"{SECRET}"', f"{SECRET} OR text:*", f"text:{SECRET}", "takeover plan", "*", "%"):
        with room.calling(GLOBEX):
            seen = await everything(room, query)
        assert SECRET not in seen and "takeover" not in seen
        with room.calling(ACME):
            assert "globexmark" not in await everything(room, query)


async def test_the_same_document_id_is_another_document(room: Served) -> None:
    stub = DocumentServiceStub(room.channel())
    with room.calling(GLOBEX):
        assert (await upsert(room, "secret", "# Plan\n\nchanged")).outcome == pb.UPSERT_OUTCOME_UPDATED
        assert (await stub.DeleteDocument(pb.DeleteDocumentRequest(document="secret"))).deleted_now
    with room.calling(ACME):
        assert SECRET in await everything(room, "takeover")


async def test_delimiter_tricks_in_document_ids_name_nothing_of_others(room: Served) -> None:
    stub = DocumentServiceStub(room.channel())
    with room.calling(GLOBEX):
        for trick in TRICKS:
            try:
                assert not (await stub.DeleteDocument(pb.DeleteDocumentRequest(document=trick))).deleted_now
                await upsert(room, trick, "# Mine\n\nmine")
                assert (await stub.DeleteDocument(pb.DeleteDocumentRequest(document=trick))).deleted_now
            except InvalidArgument as refused:
                assert [field for field, _ in refused.violations] == ["document"]
            assert SECRET not in await everything(room, "takeover")
    with room.calling(ACME):
        assert SECRET in await everything(room, "takeover")


async def test_a_collection_of_another_form_is_refused(room: Served) -> None:
    stub = DocumentServiceStub(room.channel())
    for trick in ("acme/default", "../acme", "default' OR '1'='1", 'default"]', "*", "DEFAULT", "a" * 64, " "):
        with room.calling(GLOBEX):
            for call in (
                stub.SearchPassages(pb.SearchPassagesRequest(query="plan", collections=[trick])),
                stub.ListDocuments(pb.ListDocumentsRequest(collection=trick)),
                stub.DeleteDocument(pb.DeleteDocumentRequest(collection=trick, document="secret")),
            ):
                with pytest.raises(InvalidArgument):
                    await call
            assert (await upsert(room, "x", "text", trick)).field == "collection"


async def test_a_tenant_id_of_another_form_makes_no_file_and_deletes_none(room: Served, tmp_path: Path) -> None:
    lifecycle = LifecycleServiceStub(room.channel(service="tenancy"))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for tenant in ("../acme", "acme/../acme", "ACME", "acme.", "acme%00", "", ".", "a" * 64, "acme.db"):
        named = {"tenant": tenant, "organisation": "acme-org"}
        with room.calling(None):
            for call in (
                lifecycle.ProvisionTenant(ProvisionTenantRequest(tier="pro", **named)),
                lifecycle.DeprovisionTenant(DeprovisionTenantRequest(**named)),
            ):
                with pytest.raises(InvalidArgument):
                    await call
        with room.calling(caller_of(tenant, "acme-org", scopes=SCOPES)), pytest.raises(TenantryError):
            await everything(room, "takeover")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


async def test_a_caller_of_another_organisation_with_the_same_tenant_id_gets_nothing(room: Served) -> None:
    with room.calling(caller_of("acme", "evil-org", scopes=SCOPES)):
        with pytest.raises(FailedPrecondition):
            await everything(room, "takeover")
        with pytest.raises(FailedPrecondition):
            await upsert(room, "secret", "overwritten")
    lifecycle = LifecycleServiceStub(room.channel(service="tenancy"))
    with room.calling(None):
        gone = await lifecycle.DeprovisionTenant(DeprovisionTenantRequest(tenant="acme", organisation="evil-org"))
    assert gone.did == "nothing to do"
    with room.calling(ACME):
        assert SECRET in await everything(room, "takeover")


async def test_a_tenant_made_anew_sees_nothing_of_its_predecessor(room: Served, tmp_path: Path) -> None:
    lifecycle = LifecycleServiceStub(room.channel(service="tenancy"))
    with room.calling(None):
        await lifecycle.DeprovisionTenant(DeprovisionTenantRequest(tenant="acme", organisation="acme-org"))
    assert not list((tmp_path / "documents").glob("*acme*"))
    with room.calling(ACME), pytest.raises(FailedPrecondition) as refused:
        await everything(room, "takeover")
    assert refused.value.reason is Reason.TENANT_NOT_PROVISIONED
    with room.calling(None):
        await lifecycle.ProvisionTenant(ProvisionTenantRequest(tenant="acme", organisation="new-owner", tier="pro"))
    with room.calling(caller_of("acme", "new-owner", scopes=SCOPES)):
        assert SECRET not in await everything(room, "takeover")


async def test_administrators_and_outsiders_have_no_documents(room: Served) -> None:
    for admin in (caller_of("", "acme-org", scopes=SCOPES), caller_of("", "", scopes=SCOPES)):
        with room.calling(admin), pytest.raises(PermissionDenied):
            await everything(room, "takeover")
    with room.calling(None), pytest.raises(Unauthenticated):
        await everything(room, "takeover")
    for service in (None, "gateway", "prompts"):
        lifecycle = LifecycleServiceStub(room.channel(service=service))
        with room.calling(ACME), pytest.raises((PermissionDenied, Unauthenticated)):
            await lifecycle.DeprovisionTenant(DeprovisionTenantRequest(tenant="globex", organisation="globex-org"))


async def test_a_page_token_of_another_tenant_is_only_a_place(room: Served) -> None:
    stub = DocumentServiceStub(room.channel())
    with room.calling(ACME):
        await upsert(room, "another", f"# Two\n\n{SECRET}")
        page = pb.ListDocumentsRequest()
        page.page.size = 1
        token = (await stub.ListDocuments(page)).page.next_token
    assert token
    with room.calling(GLOBEX):
        page.page.token = token
        seen = await stub.ListDocuments(page)
    assert [(one.document, one.title) for one in seen.documents] == [("secret", "Plan")]


async def test_nothing_of_a_document_is_in_a_log_or_a_refusal(room: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="tenantry")
    stub = DocumentServiceStub(room.channel())
    with room.calling(ACME):
        await upsert(room, "secret", f"# {SECRET}\n\n{SECRET} again")
        refused = await upsert(room, f"\t{SECRET}", SECRET)
        with pytest.raises(InvalidArgument) as query:
            await stub.SearchPassages(pb.SearchPassagesRequest(query=SECRET, limit=99))
        with pytest.raises(InvalidArgument) as token:
            page = pb.ListDocumentsRequest()
            page.page.token = SECRET
            await stub.ListDocuments(page)
    assert SECRET not in refused.description + str(query.value) + str(token.value) + caplog.text
