"""The clients of an SDK: one for each address and credential, bounded, closed when nobody uses them."""

import asyncio
import threading

import pytest

from tenantry.models.clients import Clients
from tenantry.models.generation import Target
from tenantry.models.model import Provider


class Client:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.thread = threading.get_ident()
        self.closed = False

    async def close(self) -> None:
        self.closed = True


def target(credential: str, base_url: str = "https://a.example") -> Target:
    return Target(Provider.OPENAI, "gpt", base_url, credential)


async def test_a_client_is_shared_by_calls_with_the_same_address_and_credential_only() -> None:
    clients = Clients(Client, 10)
    async with (
        clients.lease(target("a")) as one,
        clients.lease(target("a")) as same,
        clients.lease(target("b")) as other,
    ):
        assert one is same and one is not other
    async with clients.lease(target("a", "https://b.example")) as elsewhere:
        assert elsewhere is not one and elsewhere.target.base_url == "https://b.example"


async def test_a_client_is_made_once_and_not_on_the_loop() -> None:
    made: list[Client] = []

    def make(target: Target) -> Client:
        made.append(Client(target))
        return made[-1]

    clients = Clients(make, 10)

    async def use() -> None:
        async with clients.lease(target("a")):
            await asyncio.sleep(0)

    await asyncio.gather(*(use() for _ in range(20)))
    assert len(made) == 1 and made[0].thread != threading.get_ident()


async def test_the_least_recently_used_is_closed_first() -> None:
    clients = Clients(Client, 2)
    seen: dict[str, Client] = {}
    for name in ("a", "b", "a", "c"):
        async with clients.lease(target(name)) as client:
            seen[name] = client
    assert [seen[name].closed for name in "abc"] == [False, True, False]


async def test_a_client_in_use_is_closed_only_when_its_last_user_is_done() -> None:
    clients = Clients(Client, 1)
    async with clients.lease(target("a")) as first:
        async with clients.lease(target("b")):
            pass
        assert not first.closed
        async with clients.lease(target("a")) as again:
            assert again is not first
    assert first.closed


async def test_closing_closes_all() -> None:
    clients = Clients(Client, 5)
    async with clients.lease(target("a")) as one, clients.lease(target("b")) as other:
        pass
    await clients.close()
    assert one.closed and other.closed


async def test_a_client_that_can_not_be_made_is_tried_again() -> None:
    fails = [True, False]

    def make(target: Target) -> Client:
        if fails.pop(0):
            raise ImportError
        return Client(target)

    clients = Clients(make, 5)
    with pytest.raises(ImportError):
        async with clients.lease(target("a")):
            pass
    async with clients.lease(target("a")) as client:
        assert not client.closed
