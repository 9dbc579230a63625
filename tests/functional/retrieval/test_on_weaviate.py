"""The service with its documents in Weaviate, which is killed and comes back."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import DeprovisionTenantRequest, ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.kit.errors import FailedPrecondition, Reason, Unavailable
from tenantry.kit.host import Hosted
from tenantry.retrieval import server
from tenantry.retrieval.settings import Settings
from tests.harness import left_out, weaviate
from tests.harness.room import Served, caller_of, served

ACME = caller_of("acme", "acme-org", scopes={"documents.read", "documents.write"})


async def upsert(room: Served, document: str, text: bytes) -> pb.UpsertDocumentsResponse:
    async def stream() -> AsyncIterator[pb.UpsertDocumentsRequest]:
        yield pb.UpsertDocumentsRequest(document=document, text=text)

    [answer] = [one async for one in DocumentServiceStub(room.channel()).UpsertDocuments(stream())]
    return answer


@pytest.mark.needs("weaviate")
async def test_weaviate_away_is_unavailable_soon_and_back_it_has_what_was_acknowledged(tmp_path: Path) -> None:
    running = weaviate.start()
    if not isinstance(running, weaviate.WeaviateServer):
        left_out.leave_out("weaviate: one that somebody else runs is not killed")
    settings = Settings(
        directory=tmp_path / "documents",
        sql_url=f"sqlite:///{tmp_path}/retrieval.db",
        weaviate_url=running.url,
        weaviate_grpc=running.grpc,
    )
    named = {"tenant": "acme", "organisation": "acme-org"}
    question = pb.SearchPassagesRequest(query="How much holiday?")
    try:
        async with served(Hosted("retrieval", server.build, settings), state=tmp_path) as room:
            stub, lifecycle = DocumentServiceStub(room.channel()), LifecycleServiceStub(room.channel(service="tenancy"))
            with room.calling(ACME), pytest.raises(FailedPrecondition):
                await stub.SearchPassages(question)
            with room.calling(None):
                await lifecycle.ProvisionTenant(ProvisionTenantRequest(tier="pro", **named))
            with room.calling(ACME):
                assert (await upsert(room, "a", b"# Holiday\n\n28 days.")).outcome == pb.UPSERT_OUTCOME_CREATED
                assert (await upsert(room, "a", b"# Holiday\n\n28 days.")).outcome == pb.UPSERT_OUTCOME_UNCHANGED
                assert (await stub.SearchPassages(question)).passages[0].text == "28 days."
                running.kill()
                started = time.monotonic()
                with pytest.raises(Unavailable) as away:
                    await stub.SearchPassages(question)
                assert away.value.reason is Reason.STORE_UNAVAILABLE
                assert time.monotonic() - started < 15  # the channel tries a search three times
                with pytest.raises(Unavailable):
                    await upsert(room, "a", b"# Holiday\n\n30 days.")
                running.start()
                assert (await stub.SearchPassages(question)).passages[0].text == "28 days."
                assert (await upsert(room, "a", b"# Holiday\n\n30 days.")).outcome == pb.UPSERT_OUTCOME_UPDATED
                assert [one.text for one in (await stub.SearchPassages(question)).passages] == ["30 days."]
            with room.calling(None):
                gone = await lifecycle.DeprovisionTenant(DeprovisionTenantRequest(**named))
            assert gone.did == "deleted 1 documents"
    finally:
        running.remove()
