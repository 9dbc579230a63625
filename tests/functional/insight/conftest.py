"""A served insight over the network."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.functional.insight.insight_room import Insight, insight_and_quota


@pytest.fixture
async def insight(tmp_path: Path) -> AsyncIterator[Insight]:
    async with insight_and_quota(tmp_path, "network") as running:
        yield running
