"""A world over the network."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.functional.tenancy.world import World, world


@pytest.fixture
async def tenancy(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, "network") as running:
        yield running
