"""DocumentService: between its messages and the use cases."""

from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.retrieval.v1 import document_service_pb2 as pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceServicer
from tenantry.kit import caller, paging
from tenantry.kit.errors import InvalidArgument
from tenantry.retrieval.allowed import Allowed
from tenantry.retrieval.documents import Documents, Format, Outcome, Sent
from tenantry.retrieval.search import Search
from tenantry.retrieval.store import Candidate, Document, Key

_FORMATS: dict[int, Format] = {
    pb.FORMAT_UNSPECIFIED: Format.MARKDOWN,
    pb.FORMAT_MARKDOWN: Format.MARKDOWN,
    pb.FORMAT_TEXT: Format.TEXT,
}
_OUTCOMES: dict[Outcome, pb.UpsertOutcome.ValueType] = {
    Outcome.CREATED: pb.UPSERT_OUTCOME_CREATED,
    Outcome.UPDATED: pb.UPSERT_OUTCOME_UPDATED,
    Outcome.UNCHANGED: pb.UPSERT_OUTCOME_UNCHANGED,
}
# A refusal echoes what was sent only as far as an id may go.
_MOST_ECHOED = 200


Context = aio.ServicerContext[Any, Any]


class DocumentService(DocumentServiceServicer):
    """The tenant is the caller's, the collections those of its key."""

    def __init__(self, documents: Documents, search: Search) -> None:
        self._documents = documents
        self._search = search

    async def UpsertDocuments(
        self, request_iterator: AsyncIterator[pb.UpsertDocumentsRequest], context: Context
    ) -> AsyncIterator[pb.UpsertDocumentsResponse]:
        tenant, allowed = caller.owner(), _allowed()
        async for request in request_iterator:
            answer = pb.UpsertDocumentsResponse(
                collection=request.collection[:_MOST_ECHOED] or "default", document=request.document[:_MOST_ECHOED]
            )
            try:
                upserted = await self._documents.upsert(tenant, allowed, _sent(request))
                answer.outcome, answer.passages = _OUTCOMES[upserted.outcome], upserted.passages
            except InvalidArgument as error:
                answer.outcome = pb.UPSERT_OUTCOME_REFUSED
                answer.field, answer.description = error.violations[0]
            yield answer

    async def DeleteDocument(self, request: pb.DeleteDocumentRequest, context: Context) -> pb.DeleteDocumentResponse:
        deleted = await self._documents.delete(caller.owner(), _allowed(), request.collection, request.document)
        return pb.DeleteDocumentResponse(deleted_now=deleted)

    async def ListDocuments(self, request: pb.ListDocumentsRequest, context: Context) -> pb.ListDocumentsResponse:
        position = paging.position_of(request.page.token, (str, str))
        after = Key(str(position[0]), str(position[1])) if position else None
        size = paging.size_of(request.page.size)
        documents, more = await self._documents.list(caller.owner(), _allowed(), request.collection, after, size)
        last = documents[-1].key if more else None
        token = paging.token_of(last.collection, last.document) if last else ""
        return pb.ListDocumentsResponse(
            documents=[_document(document) for document in documents], page=paging_pb2.PageResponse(next_token=token)
        )

    async def SearchPassages(self, request: pb.SearchPassagesRequest, context: Context) -> pb.SearchPassagesResponse:
        ranked, epoch = await self._search.passages(
            caller.owner(), _allowed(), request.query, tuple(request.collections), request.limit
        )
        return pb.SearchPassagesResponse(passages=[_passage(one) for one in ranked], documents_epoch=epoch)

    async def GetDocumentsEpoch(
        self, request: pb.GetDocumentsEpochRequest, context: Context
    ) -> pb.GetDocumentsEpochResponse:
        epoch = await self._search.epoch(caller.owner())
        return pb.GetDocumentsEpochResponse(
            documents_epoch=epoch.number, changing=epoch.changing, embedder=self._search.embedder
        )


def _allowed() -> Allowed:
    return Allowed(caller.current().collections)


def _sent(request: pb.UpsertDocumentsRequest) -> Sent:
    if request.format not in _FORMATS:
        raise InvalidArgument("format", "is not one of FORMAT_MARKDOWN and FORMAT_TEXT")
    return Sent(request.collection, request.document, request.title, _FORMATS[request.format], request.text)


def _document(document: Document) -> pb.Document:
    message = pb.Document(
        collection=document.key.collection,
        document=document.key.document,
        title=document.title,
        size_bytes=document.size_bytes,
        passages=document.passages,
    )
    message.update_time.FromNanoseconds(document.updated_ns)
    return message


def _passage(candidate: Candidate) -> pb.Passage:
    return pb.Passage(
        collection=candidate.key.collection,
        document=candidate.key.document,
        title=candidate.title,
        heading=candidate.passage.heading,
        text=candidate.passage.text,
        ordinal=candidate.passage.ordinal,
        score=candidate.score,
    )
