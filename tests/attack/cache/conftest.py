"""A cache service for each kind of channel."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.kit.redis import Redis, connect
from tests.functional.cache.cache_room import Cache, serve


@pytest.fixture(params=["inprocess", "network"])
async def cache(request: pytest.FixtureRequest, valkey_cache: str, tmp_path: Path) -> AsyncIterator[Cache]:
    async for running in serve(valkey_cache, tmp_path, request.param):
        yield running


@pytest.fixture
async def redis(valkey_cache: str) -> AsyncIterator[Redis]:
    """The attacker's own way into the cache's Redis."""
    connection = connect(valkey_cache, store="cache")
    try:
        yield connection
    finally:
        await connection.close()
