"""One tenant sends more than can be answered: what others send is answered all the same."""

import asyncio
import sqlite3
import threading
from typing import Any

import pytest

from tenantry.api.retrieval.v1 import document_service_pb2 as pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.kit.errors import Reason, ResourceExhausted, TenantryError
from tenantry.retrieval import tenant_search
from tests.harness.poll import until
from tests.harness.room import Served, caller_of

SCOPES = {"documents.read"}
ACME = caller_of("acme", "acme-org", scopes=SCOPES)
GLOBEX = caller_of("globex", "globex-org", scopes=SCOPES)
SENT = 300
MAY_WAIT = 256


async def test_a_flood_of_one_tenants_searches_does_not_hold_up_anothers(
    retrieval: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    search = tenant_search.search

    def held(connection: sqlite3.Connection, tenant: str, *more: Any) -> Any:
        if tenant == "acme":
            release.wait(60)
        return search(connection, tenant, *more)

    monkeypatch.setattr(tenant_search, "search", held)
    outside, gateway = (
        DocumentServiceStub(retrieval.channel()),
        DocumentServiceStub(retrieval.channel(service="gateway")),
    )

    async def ask() -> None:
        await outside.SearchPassages(pb.SearchPassagesRequest(query="holiday", limit=1))

    with retrieval.calling(ACME):
        flood = [asyncio.create_task(ask()) for _ in range(SENT)]
    try:
        # What waits beyond a tenant's due is refused, so all the rest is waiting now.
        await until(lambda: sum(one.done() for one in flood) == SENT - MAY_WAIT, within_s=30)
        with retrieval.calling(GLOBEX):
            async with asyncio.timeout(5):
                assert (await gateway.GetDocumentsEpoch(pb.GetDocumentsEpochRequest())).documents_epoch > 0
                await ask()
    finally:
        release.set()
    ends = await asyncio.gather(*flood, return_exceptions=True)
    refused = [end for end in ends if isinstance(end, TenantryError)]
    assert len(refused) == SENT - MAY_WAIT and ends.count(None) == MAY_WAIT
    for one in refused:
        assert isinstance(one, ResourceExhausted)
        assert (one.reason, one.retry_after_s) == (Reason.SERVER_BUSY, 1.0)
