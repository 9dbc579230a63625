"""Refusals that a replica counts in memory: a bounded number of tenants, added up each second, dropped without the books."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import pytest

from tenantry.kit.errors import StoreUnavailable
from tenantry.kit.owner import Platform, Tenant
from tenantry.quota import refusal_counts
from tenantry.quota.entries import TenantLimits
from tenantry.quota.presence import BooksAway, Presence, StandbyTerms
from tenantry.quota.refusal_counts import ADD_EVERY_S, RefusalCounts
from tests.harness.clock import FrozenClock
from tests.harness.poll import until
from tests.harness.room import caller_of

OPERATOR = caller_of("", "", scopes={"limits.read"})
Second = Callable[[], Awaitable[None]]


class Noted:
    """What the books were told, while they are there."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, int]] = []
        self.away = False

    async def add(self, owner: Platform, refused: Mapping[str, int]) -> None:
        if self.away:
            raise StoreUnavailable("books", away=True)
        self.told.append(refused)

    async def of(self, owner: Tenant) -> int:
        raise NotImplementedError

    async def most(self, owner: Platform, most: int) -> Sequence[tuple[str, int]]:
        raise NotImplementedError


async def nobody(tenant: str) -> TenantLimits | None:
    return None


@pytest.fixture
def books() -> Noted:
    return Noted()


@pytest.fixture
def presence(clock: FrozenClock) -> Presence:
    async def probe() -> None:
        return

    return Presence(probe, clock, StandbyTerms())


@pytest.fixture
def counts(books: Noted, presence: Presence, clock: FrozenClock) -> RefusalCounts:
    return RefusalCounts(books, presence, nobody, clock)


@pytest.fixture
async def second(counts: RefusalCounts, clock: FrozenClock) -> AsyncIterator[Second]:
    """Lets a second pass."""
    adding = asyncio.create_task(counts.add_up())
    await until(lambda: clock.sleepers == 1)

    async def passes() -> None:
        clock.advance(ADD_EVERY_S)
        await until(lambda: clock.sleepers == 1)

    yield passes
    adding.cancel()


async def test_a_seconds_refusals_are_one_message_and_none_is_no_message(
    counts: RefusalCounts, books: Noted, second: Second
) -> None:
    for tenant in ("acme", "globex", "acme"):
        counts.count(tenant)
    await second()
    await second()
    assert books.told == [{"acme": 2, "globex": 1}]


async def test_tenants_without_end_take_bounded_room_and_the_log_says_who_is_not_counted(
    counts: RefusalCounts,
    books: Noted,
    second: Second,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(refusal_counts, "MOST_TENANTS", 2)
    for tenant in ("a", "b", "c", "d", "a"):
        counts.count(tenant)
    await second()
    assert books.told == [{"a": 2, "b": 1}]
    assert "2 refusals are not counted" in caplog.text


async def test_what_was_refused_while_the_books_are_away_is_not_told_as_of_later(
    counts: RefusalCounts, books: Noted, presence: Presence, second: Second
) -> None:
    books.away = True
    for _ in range(2):
        counts.count("acme")
        await second()
    assert presence.away
    with pytest.raises(BooksAway):
        await counts.list(OPERATOR, "")
    books.away = False
    presence._since = None  # as `watch` does
    counts.count("globex")
    await second()
    assert books.told == [{"globex": 1}]
