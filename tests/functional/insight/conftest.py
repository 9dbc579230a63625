"""A served insight for each kind of channel."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.functional.insight.insight_room import Insight, insight_and_quota


@pytest.fixture(params=["inprocess", "network"])
async def insight(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Insight]:
    async with insight_and_quota(tmp_path, request.param) as running:
        yield running
