"""The HTTP client connects to allowed addresses only, whatever a name leads to, and follows nobody elsewhere."""

import asyncio
import socket
from typing import Any

import httpcore2
import httpx2
import pytest

from tenantry.kit.public_http import CheckedBackend, http_client
from tests.harness.provider import Reply, provider


def leads_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    "addresses", [("127.0.0.1",), ("169.254.169.254",), ("10.0.0.8",), ("93.184.216.34", "10.0.0.8"), ("::1",), ()]
)
async def test_a_public_name_that_leads_to_a_private_address_is_not_called(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    async with provider() as server, http_client(loopback=False) as client:
        leads_to(monkeypatch, *addresses)
        with pytest.raises(httpx2.ConnectError):
            await client.post(f"http://llm.example.com:{server.port}/v1/chat/completions", json={})
        assert not server.requests


async def test_with_the_setting_this_machine_may_be_called_and_other_private_ones_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with provider() as server, http_client(loopback=True) as client:
        answer = await client.post(f"{server.openai_url}/chat/completions", json={})
        assert answer.status_code == 200
        leads_to(monkeypatch, "10.0.0.8")
        with pytest.raises(httpx2.ConnectError):
            await client.post(f"http://llm.example.com:{server.port}/v1/chat/completions", json={})


async def test_a_redirect_is_not_followed() -> None:
    async with provider() as server, provider() as elsewhere, http_client(loopback=True) as client:
        server.reply = Reply(status=307, location=f"{elsewhere.openai_url}/chat/completions")
        answer = await client.post(f"{server.openai_url}/chat/completions", json={"secret": 1})
        assert answer.status_code == 307
        assert not elsewhere.requests


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider() as server, provider() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.anthropic_url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        async with http_client(loopback=True) as client:
            await client.post(f"{server.openai_url}/chat/completions", json={})
        assert server.requests and not proxy.requests


async def test_a_name_that_is_not_there_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(httpcore2.ConnectError):
        await CheckedBackend(lambda _: True).connect_tcp("llm.example.com", 443, timeout=1)
