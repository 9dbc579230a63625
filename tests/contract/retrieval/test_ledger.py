"""What retrieval keeps in SQL beside Weaviate, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tenantry.kit.errors import Aborted, FailedPrecondition, Reason, ResourceExhausted
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database, migrate
from tenantry.retrieval.ledger import Ledger, State, Write
from tenantry.retrieval.limits import Limits
from tenantry.retrieval.store import Document, Key

ACME = Tenant("acme-org", "acme")
KEY = Key("default", "a")


def document(key: Key = KEY, size: int = 4) -> Document:
    return Document(key, "Title", size, 2, b"\x00\xff", 1_700_000_000_123_456_789)


@pytest.fixture
async def ledger(sql_url: str) -> AsyncGenerator[Ledger]:
    database = Database(sql_url, "retrieval")
    await migrate(database, "tenantry.retrieval.migrations")
    ledger = Ledger(database)
    assert await ledger.begin_making(ACME, 7) is State.MAKING
    with pytest.raises(FailedPrecondition):
        await ledger.epoch(ACME)
    assert await ledger.end_making(ACME) is True
    yield ledger
    await database.close()


async def test_a_write_raises_the_epoch_at_its_begin_and_its_end_and_shows_between(ledger: Ledger) -> None:
    write = Write(ACME, KEY, "holder")
    seen = [await ledger.epoch(ACME)]
    assert await ledger.begin(write) is True
    seen.append(await ledger.epoch(ACME))
    assert await ledger.find(ACME, KEY) is None
    assert await ledger.store(write, document(), "g1", Limits()) is True
    assert await ledger.counts(write) == "g1"
    await ledger.end(write)
    seen.append(await ledger.epoch(ACME))
    assert [(epoch.number, epoch.changing) for epoch in seen] == [(7, False), (8, True), (9, False)]
    assert await ledger.find(ACME, KEY) == document()
    assert await ledger.generations(ACME, [KEY, Key("default", "b")]) == {KEY: ("g1", "Title")}
    assert await ledger.page(ACME, ("default",), None, 5) == [document()]
    assert await ledger.page(ACME, None, KEY, 5) == []


async def test_one_writer_at_a_time_has_a_document_and_the_next_takes_what_was_left(ledger: Ledger) -> None:
    one, other = Write(ACME, KEY, "one"), Write(ACME, KEY, "other")
    assert sorted(await asyncio.gather(ledger.begin(one), ledger.begin(other))) == [False, True]
    for write in (one, other):
        await ledger.give_up(write)
    assert await ledger.under_way(5) == [(ACME, KEY)]
    assert await ledger.begin(other) is True
    with pytest.raises(Aborted):
        await ledger.store(one, document(), "g1", Limits())
    await ledger.end(other)
    assert await ledger.under_way(5) == [] and not (await ledger.epoch(ACME)).changing


async def test_a_tenant_that_goes_takes_everything_with_it(ledger: Ledger) -> None:
    write = Write(ACME, KEY, "holder")
    await ledger.begin(write)
    await ledger.store(write, document(), "g1", Limits())
    assert await ledger.begin_going(Tenant("evil-org", "acme")) is None
    assert await ledger.begin_going(ACME) == 1
    for call in (ledger.end(write), ledger.epoch(ACME), ledger.find(ACME, KEY), ledger.begin(write)):
        with pytest.raises(FailedPrecondition) as refused:
            await call
        assert refused.value.reason is Reason.TENANT_NOT_PROVISIONED
    assert await ledger.begin_making(ACME, 99) is State.GOING
    await ledger.end_going(ACME)
    assert await ledger.begin_making(ACME, 99) is State.MAKING and await ledger.end_making(ACME)
    assert await ledger.page(ACME, None, None, 5) == []


async def test_limits_hold_where_the_document_is_stored(ledger: Ledger) -> None:
    limits = Limits(documents=1, bytes=10)
    write = Write(ACME, KEY, "holder")
    await ledger.begin(write)
    await ledger.store(write, document(), "g1", limits)
    other = document(Key("default", "b"))
    with pytest.raises(ResourceExhausted):
        await ledger.check_room(ACME, other, limits)
    second = Write(ACME, other.key, "holder")
    await ledger.begin(second)
    with pytest.raises(ResourceExhausted):
        await ledger.store(second, other, "g2", limits)
    assert await ledger.find(ACME, other.key) is None
