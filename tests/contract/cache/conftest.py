"""A cache's Redis on both servers: Valkey from its wheel, and Redis where the machine has it."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tenantry.cache.entry import Terms
from tenantry.cache.store_redis import RedisEntries
from tenantry.kit.owner import Tenant
from tenantry.kit.redis import Redis, connect
from tests.harness import left_out, stores


@pytest.fixture(scope="session")
def redis_cache() -> Iterator[str]:
    """URL of a Redis 7 that forgets what is old."""
    with stores.running(stores.CACHE, Path(left_out.require("redis-server"))) as server:
        yield server.url


@pytest.fixture(params=["valkey", "redis"])
def cache_url(request: pytest.FixtureRequest) -> str:
    """The URL of the cache, once on each server."""
    return request.getfixturevalue(f"{request.param}_cache")


@pytest.fixture
async def redis(cache_url: str) -> AsyncIterator[Redis]:
    """A connection to it."""
    connection = connect(cache_url, store="cache")
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def entries(redis: Redis) -> RedisEntries:
    """The store, with flights of a second, places of half a second, and room for three."""
    return RedisEntries(redis, Terms(1000, 500, 3))


@pytest.fixture
def acme() -> Tenant:
    """A tenant of this test's own."""
    return Tenant("acme-org", f"acme-{secrets.token_hex(6)}")
