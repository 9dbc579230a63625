"""A cache service over the network."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tenantry.cache.entry import Terms
from tests.functional.cache.cache_room import Cache, serve
from tests.harness.stores import CACHE, RedisServer


@pytest.fixture
async def cache(valkey_cache: str, tmp_path: Path) -> AsyncIterator[Cache]:
    async for running in serve(valkey_cache, tmp_path, "network"):
        yield running


@pytest.fixture
async def hasty_cache(valkey_cache: str, tmp_path: Path) -> AsyncIterator[Cache]:
    """One whose flights and places end soon, and where three may wait."""
    async for running in serve(valkey_cache, tmp_path, "inprocess", Terms(300, 300, 3)):
        yield running


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A cache Redis that is this test's own, not started yet."""
    server = RedisServer(CACHE)
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
async def cache_on_own_redis(own_redis: RedisServer, tmp_path: Path) -> AsyncIterator[Cache]:
    async for running in serve(own_redis.url, tmp_path, "network"):
        yield running
