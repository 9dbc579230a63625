"""A gateway that was given vocabularies counts with them."""

import asyncio
from pathlib import Path

import pytest

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.gateway import estimate
from tenantry.gateway.vocabularies import Vocabularies
from tests.functional.gateway.conftest import House
from tests.harness import vocabularies
from tests.harness.poll import until


@pytest.fixture
def tokenizers(tmp_path: Path) -> Path:
    return vocabularies.filled(tmp_path)


async def test_what_a_cancelled_answer_read_is_settled_by_the_vocabulary_of_its_model(
    house: House, tokenizers: Path
) -> None:
    house.director.held = True
    request = pb.GenerateContentRequest(query=pb.GenerationQuery(question="Wie lange kann ich 123456789 zurückgeben?"))
    with house.room.calling(house.acme):
        asked = asyncio.ensure_future(GatewayServiceStub(house.room.channel("gateway")).GenerateContent(request))
        await until(lambda: house.director.begun == 1, within_s=5)
        asked.cancel()
    (entry,) = await house.settled(1)
    count = await Vocabularies(tokenizers).counter(vocabularies.model("gpt-4"))
    given = house.director.asked[0].messages
    assert count is not None and len(given) == 2
    assert entry.usage.input_tokens == sum(count(one.text) for one in given) + estimate.frame_tokens(2)
    assert entry.usage.counts_estimated
