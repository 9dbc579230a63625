"""Books on all three servers: Valkey from its wheel, Redis where the machine has it, and a cluster of three primaries and
three replicas."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tenantry.kit.redis import Redis, connect
from tests.harness.redis_cluster import RedisCluster, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    """A cluster that keeps every acknowledged write. Shared: no test of these kills a server of it."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cluster_books(cluster: RedisCluster) -> str:
    """URL of the cluster."""
    return cluster.url


@pytest.fixture(params=["valkey", "redis", "cluster"])
def books_url(request: pytest.FixtureRequest) -> str:
    """The URL of the books, once on each kind of server."""
    return request.getfixturevalue(f"{request.param}_books")


@pytest.fixture
async def books_redis(books_url: str) -> AsyncIterator[Redis]:
    """A connection to the books."""
    redis = connect(books_url, store="books")
    try:
        yield redis
    finally:
        await redis.close()


@pytest.fixture
def effort(books_url: str) -> float:
    """What share of a comparison's examples is tried: a quarter on a cluster, where each change is written twice."""
    return 0.25 if "cluster" in books_url else 1.0
