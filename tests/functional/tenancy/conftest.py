"""A world for each kind of channel."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.functional.tenancy.world import World, world


@pytest.fixture(params=["inprocess", "network"])
async def tenancy(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, request.param) as running:
        yield running
