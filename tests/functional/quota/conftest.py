"""A quota service over the network."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.functional.quota.quota_room import Quota, serve
from tests.harness.stores import RedisServer


@pytest.fixture
async def quota(valkey_books: str, tmp_path: Path) -> AsyncIterator[Quota]:
    async for running in serve(valkey_books, tmp_path, "network"):
        yield running


@pytest.fixture
async def quota_on_own_books(own_books: RedisServer, tmp_path: Path) -> AsyncIterator[Quota]:
    """On books that the test may stop, kill and start again."""
    async for running in serve(own_books.url, tmp_path, "network"):
        yield running
