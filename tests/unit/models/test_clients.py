"""The bounded clients of an SDK, and where they may connect."""

import asyncio

import httpcore2
import pytest

from tenantry.kit.addresses import is_loopback, is_public
from tenantry.kit.public_http import CheckedBackend
from tenantry.models.clients import Clients
from tenantry.models.generation import Target
from tenantry.models.model import Provider


class FakeClient:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.closed = False

    async def close(self) -> None:
        self.closed = True


def target(credential: str, base_url: str = "") -> Target:
    return Target(Provider.OPENAI, "gpt", base_url, credential)


async def test_calls_with_the_same_credential_and_address_share_a_client_and_others_never_do() -> None:
    clients = Clients(FakeClient, 10)
    async with clients.lease(target("a")) as one, clients.lease(target("a")) as same:
        assert one is same
    async with clients.lease(target("b")) as other, clients.lease(target("a", "https://x.example.com")) as elsewhere:
        assert len({id(one), id(other), id(elsewhere)}) == 3
        assert other.target.credential == "b"


async def test_many_calls_at_once_make_one_client() -> None:
    made: list[FakeClient] = []

    def make(asked: Target) -> FakeClient:
        made.append(FakeClient(asked))
        return made[-1]

    clients = Clients(make, 10)

    async def use() -> None:
        async with clients.lease(target("a")):
            await asyncio.sleep(0)

    await asyncio.gather(*(use() for _ in range(20)))
    assert len(made) == 1


async def test_the_least_recently_used_client_is_closed_but_not_under_a_call() -> None:
    clients = Clients(FakeClient, 1)
    async with clients.lease(target("a")) as first:
        async with clients.lease(target("b")) as second:
            assert not first.closed
        assert not first.closed
    assert first.closed and not second.closed
    await clients.close()
    assert second.closed


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "::1", "0.0.0.0"])
async def test_a_name_that_leads_to_a_private_address_is_not_connected_to(host: str) -> None:
    with pytest.raises(httpcore2.ConnectError):
        await CheckedBackend(is_public).connect_tcp(host, 9, timeout=2)


async def test_loopback_is_connected_to_only_when_it_is_allowed() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        stream = await CheckedBackend(is_loopback).connect_tcp("localhost", port, timeout=2)
        await stream.aclose()
