"""An answer out of documents that have changed since, served to nobody."""

import asyncio

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tests.functional.gateway.conftest import House
from tests.functional.gateway.conftest import house as house
from tests.functional.gateway.conftest import tokenizers as tokenizers
from tests.harness.poll import until

QUESTION = "How long is the refund period?"
DOCUMENT = "# Refunds\n\nThe refund period is 45 days after delivery.\n"


async def ask(house: House) -> pb.GenerateContentResponse:
    request = pb.GenerateContentRequest(query=pb.GenerationQuery(question=QUESTION))
    with house.room.calling(house.acme, "req_test"):
        return await GatewayServiceStub(house.room.channel("gateway")).GenerateContent(request)


async def test_an_answer_whose_document_changes_while_it_is_made(house: House) -> None:
    await house.upload(house.acme, DOCUMENT)
    house.director.held = True
    stale = asyncio.create_task(ask(house))
    await until(lambda: house.director.begun == 1, within_s=5)
    await house.upload(house.acme, DOCUMENT.replace("45", "30"))
    house.director.go.set()
    assert not (await stale).summary.usage.cache_hit
    fresh = await ask(house)
    assert not fresh.summary.usage.cache_hit
    assert "30 days" in house.director.asked[1].passages[0].text and "30 days" in fresh.summary.citations[0].text
