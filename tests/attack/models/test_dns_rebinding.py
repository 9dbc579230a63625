"""A provider's name that leads to a public address when it is looked at, and to one inside when it is called."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.models.v1 import generation_service_pb2 as generation_pb
from tenantry.api.models.v1 import model_service_pb2 as pb
from tenantry.api.models.v1.generation_service_pb2_grpc import GenerationServiceStub
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.kit.addresses import is_public
from tenantry.kit.errors import Unavailable
from tenantry.kit.host import Hosted
from tenantry.kit.public_http import CheckedBackend
from tenantry.models import server as models_server
from tenantry.models.settings import Settings
from tests.harness.directed_queue import QueueDirector
from tests.harness.poll import until
from tests.harness.room import caller_of, served

PUBLIC = "93.184.216.34"
INSIDE = ("127.0.0.1", "10.0.0.8", "169.254.169.254", "100.100.100.200", "::ffff:127.0.0.1", "64:ff9b::7f00:1")


@pytest.fixture
def lead(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Makes every name lead to the addresses given, the last of them from then on; gives the list of names looked up."""

    def start(*addresses: str) -> list[str]:
        answers: Iterator[str] = chain(addresses[:-1], repeat(addresses[-1]))
        asked: list[str] = []

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        return asked

    return start


async def test_a_name_that_leads_elsewhere_between_the_check_and_the_connection(
    lead: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[str] = []

    async def connect(_self: Any, host: str, *_: Any, **__: Any) -> Any:
        connected.append(host)
        raise httpcore2.ConnectError

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect)
    asked = lead(PUBLIC, "127.0.0.1")
    with pytest.raises(httpcore2.ConnectError):
        await CheckedBackend(is_public).connect_tcp("rebind.example.com", 443, timeout=1)
    # What was checked is what was connected to: nobody looks the name up again.
    assert (asked, connected) == (["rebind.example.com"], [PUBLIC])
    with pytest.raises(httpcore2.ConnectError):
        await CheckedBackend(is_public).connect_tcp("rebind.example.com", 443, timeout=1)
    assert connected == [PUBLIC]


@pytest.mark.parametrize("address", INSIDE)
async def test_a_provider_whose_name_leads_inside_once_it_is_registered(
    tmp_path: Path, lead: Callable[..., list[str]], address: str
) -> None:
    came: list[bool] = []
    listener = await asyncio.start_server(lambda _, writer: (came.append(True), writer.close())[1], "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    settings = Settings(f"sqlite+aiosqlite:///{tmp_path}/models.db", tmp_path / "models.key")
    acme = caller_of(scopes={"generate", "models.write"})
    hosted = (Hosted("models", models_server.build, settings), QueueDirector().hosted())
    async with listener, served(*hosted, state=tmp_path) as room:
        await LifecycleServiceStub(room.channel(service="tenancy")).ProvisionTenant(
            ProvisionTenantRequest(tenant="acme", organisation="acme-org", tier="pro")
        )
        with room.calling(acme):
            url = f"https://rebind.example.com:{port}/v1"
            model = pb.Model(
                model="m",
                provider=pb.PROVIDER_OPENAI,
                provider_model="x",
                tenant="acme",
                base_url=url,
                max_output_tokens=9,
            )
            stub = ModelServiceStub(room.channel())
            await stub.RegisterModel(pb.RegisterModelRequest(model=model))
            credential = pb.SetProviderCredentialRequest(
                tenant="acme", provider=pb.PROVIDER_OPENAI, base_url=url, credential="sk-1"
            )
            await stub.SetProviderCredential(credential)
            asked = lead(address)
            message = generation_pb.Message(role=generation_pb.ROLE_USER, text="why?")
            given = generation_pb.GenerationInput(model="m", messages=[message], max_output_tokens=5)
            with pytest.raises(Unavailable) as refused:
                await GenerationServiceStub(room.channel(service="gateway")).GenerateContent(
                    generation_pb.GenerateContentRequest(input=given), timeout=20
                )
            await until(lambda: bool(asked))
    assert not came and address not in refused.value.message
