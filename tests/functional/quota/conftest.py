"""A quota service over the network."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.quota.presence import StandbyTerms
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


@pytest.fixture
async def impatient(own_books: RedisServer, tmp_path: Path) -> AsyncIterator[Quota]:
    """On books of the test's own, without which it goes on for a moment only."""
    async for running in serve(own_books.url, tmp_path, "network", standby=StandbyTerms(1, most_s=0.3)):
        yield running
