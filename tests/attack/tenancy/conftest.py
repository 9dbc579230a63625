"""A world with two tenants and their keys, over the network."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.tenancy.world import World, world


@dataclass
class Victims:
    """Two tenants of two organisations, each with an admin's key."""

    world: World
    acme: tuple[str, str]
    globex: tuple[str, str]


@pytest.fixture
async def victims(tmp_path: Path) -> AsyncIterator[Victims]:
    async with world(tmp_path, "network") as running:
        await running.tenant("acme", "acme-org")
        await running.tenant("globex", "globex-org")
        yield Victims(running, await running.key("acme"), await running.key("globex"))
