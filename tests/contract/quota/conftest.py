"""Books on both servers: Valkey from its wheel, and Redis where the machine has it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tenantry.kit.redis import Redis, connect
from tests.harness import left_out, stores


@pytest.fixture(scope="session")
def redis_books() -> Iterator[str]:
    """URL of a Redis 7 that keeps every acknowledged write."""
    with stores.running(stores.BOOKS, Path(left_out.require("redis-server"))) as server:
        yield server.url


@pytest.fixture(params=["valkey", "redis"])
def books_url(request: pytest.FixtureRequest) -> str:
    """The URL of the books, once on each server."""
    return request.getfixturevalue(f"{request.param}_books")


@pytest.fixture
async def books_redis(books_url: str) -> AsyncIterator[Redis]:
    """A connection to the books."""
    redis = connect(books_url, store="books")
    try:
        yield redis
    finally:
        await redis.close()
