"""A cache service over the network."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.kit.redis import Redis, connect
from tests.functional.cache.cache_room import Cache, serve


@pytest.fixture
async def cache(valkey_cache: str, tmp_path: Path) -> AsyncIterator[Cache]:
    async for running in serve(valkey_cache, tmp_path, "network"):
        yield running


@pytest.fixture
async def redis(valkey_cache: str) -> AsyncIterator[Redis]:
    """The attacker's own way into the cache's Redis."""
    connection = connect(valkey_cache, store="cache")
    try:
        yield connection
    finally:
        await connection.close()
