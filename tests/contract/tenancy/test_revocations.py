"""Who was revoked, on each kind of database, as several replicas see it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tenantry.kit import owner
from tenantry.kit.changes import Poller
from tenantry.kit.sql import Database
from tenantry.tenancy import revocations
from tenantry.tenancy.records import ApiKey, Issuer, Organisation, Revocation, Tenant, TenantState, Tier
from tenantry.tenancy.revocations import RevocationFeed, Told
from tenantry.tenancy.store import KEY_CHANGES, PLATFORM, TENANT_CHANGES
from tenantry.tenancy.store_sql import SqlStore
from tests.harness.clock import FrozenClock
from tests.harness.poll import until

ACME = owner.Tenant("acme-org", "acme")


def a_key(name: str) -> ApiKey:
    return ApiKey(name, "acme", "acme-org", "", ("generate",), (), (), b"", 0)


@pytest.fixture
async def acme(store: SqlStore) -> SqlStore:
    async with store.write() as tx:
        await tx.organisations.insert(owner.Organisation("acme-org"), Organisation("acme-org", "Acme", 0))
        tenant = Tenant("acme", "acme-org", "Acme", Tier.FREE, TenantState.ACTIVE, "op_1", 0)
        await tx.tenants.insert(ACME, tenant)
        for name in ("key_1", "key_2"):
            await tx.keys.insert(ACME, a_key(name))
    return store


async def found(store: SqlStore, after: int = 0, most: int = 10) -> list[Revocation]:
    async with store.read() as tx:
        return list(await tx.revocations.after(PLATFORM, after, most))


async def test_each_key_and_tenant_stands_once_at_its_last_number(acme: SqlStore) -> None:
    for state in (TenantState.SUSPENDED, TenantState.ACTIVE, TenantState.SUSPENDED):
        async with acme.write() as tx:
            await tx.tenants.set_state(ACME, state, "op_1")
        async with acme.write() as tx:
            await tx.keys.change(ACME, a_key("key_1"), revokes=True)
    entries = await found(acme)
    assert [(one.kind, one.id, one.generation, one.state) for one in entries] == [
        (TENANT_CHANGES, "acme", 4, TenantState.SUSPENDED),
        (KEY_CHANGES, "key_1", 4, None),
    ]
    assert entries[0].number < entries[1].number
    assert await found(acme, entries[0].number) == entries[1:]
    assert await found(acme, most=1) == entries[:1]


async def test_what_revokes_nothing_and_what_was_rolled_back_is_not_entered(acme: SqlStore) -> None:
    async with acme.write() as tx:
        await tx.keys.change(ACME, a_key("key_1"), revokes=False)
    with pytest.raises(ZeroDivisionError):
        async with acme.write() as tx:
            await tx.keys.revoke(ACME, "key_2", 1)
            raise ZeroDivisionError
    assert await found(acme) == []


async def test_old_entries_are_trimmed(acme: SqlStore, database: Database) -> None:
    async with acme.write() as tx:
        await tx.keys.revoke(ACME, "key_1", 1)
    for before_ns, left in ((1, 1), (2**62, 0)):
        async with acme.write() as tx:
            await tx.revocations.trim(PLATFORM, before_ns)
        assert len(await found(acme)) == left


async def test_a_revoked_key_counts_for_a_while(acme: SqlStore) -> None:
    async with acme.write() as tx:
        await tx.keys.revoke(ACME, "key_1", 100)
    async with acme.read() as tx:
        counts = [await tx.keys.count(ACME, 0, after) for after in (None, 101, 100)]
    assert counts == [1, 1, 2]


async def test_a_revoked_key_counts_though_its_end_has_come(acme: SqlStore) -> None:
    # Else a loop of keys that end at once and are revoked would fill the memory of all services.
    async with acme.write() as tx:
        await tx.keys.insert(ACME, replace(a_key("key_3"), expires_ns=50))
        await tx.keys.revoke(ACME, "key_3", 40)
        assert await tx.keys.count(ACME, 60) == 2
        assert await tx.keys.count(ACME, 60, 40) == 3


async def test_a_removed_issuer_is_refused_like_a_key_and_counts_for_a_while(acme: SqlStore) -> None:
    issuer = Issuer("iss_1", "acme", "acme-org", "https://a.example", "us", ("generate",), False, (), (), (), 0)
    async with acme.write() as tx:
        await tx.issuers.register(ACME, issuer)
        await tx.issuers.remove(ACME, issuer.id, 100)
    assert [(one.kind, one.id, one.generation) for one in await found(acme)] == [(KEY_CHANGES, "iss_1", 2)]
    async with acme.read() as tx:
        assert [await tx.issuers.count(ACME, after) for after in (100, 99)] == [0, 1]


class Pings:
    """The pings of one watcher, sent by hand."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[int | None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[int]:
        while (ping := await self.queue.get()) is not None:
            yield ping


async def test_another_replica_tells_after_its_next_poll(
    acme: SqlStore, database: Database, clock: FrozenClock
) -> None:
    other = SqlStore(database)
    feed = RevocationFeed(other, clock)
    poller = Poller(database, [feed], clock=clock)
    await poller.poll()
    pings = Pings()
    answers = feed.watch(aiter(pings))
    await pings.queue.put(1)
    assert await anext(answers) == Told(1, ())
    async with acme.write() as tx:
        await tx.keys.revoke(ACME, "key_1", 1)
    await poller.poll()
    told = await asyncio.wait_for(anext(answers), 5)
    assert [(one.id, one.generation) for one in told.revocations] == [("key_1", 2)] and told.pong == 1
    await pings.queue.put(None)
    async with asyncio.timeout(5):
        assert not [told async for told in answers if told.revocations], "it ends with the pings"


async def test_in_quiet_times_the_pollers_question_answers_each_ping_once_and_nobody_looks(
    acme: SqlStore, database: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = RevocationFeed(acme, clock)
    poller = Poller(database, [feed], clock=clock)
    await poller.poll()
    pings = Pings()
    answers = feed.watch(aiter(pings))
    await pings.queue.put(1)
    assert await anext(answers) == Told(1, ())
    monkeypatch.delattr(SqlStore, "read")
    for ping in (2, 3):
        await pings.queue.put(ping)
        answer = asyncio.ensure_future(anext(answers))
        await until(pings.queue.empty)
        assert not answer.done()
        for _ in range(2):
            await poller.poll()
        assert await asyncio.wait_for(answer, 5) == Told(ping, ())
    await answers.aclose()


async def test_a_long_snapshot_comes_in_parts_and_is_confirmed_by_the_last(
    acme: SqlStore, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "MOST_AT_ONCE", 2)
    async with acme.write() as tx:
        for number in range(5):
            key = a_key(f"key_x{number}")
            await tx.keys.insert(ACME, key)
            await tx.keys.revoke(ACME, key.id, 1)
    pings = Pings()
    await pings.queue.put(9)
    answers = RevocationFeed(acme, clock).watch(aiter(pings))
    told = [await asyncio.wait_for(anext(answers), 5) for _ in range(3)]
    assert [(len(one.revocations), one.pong) for one in told] == [(2, 0), (2, 0), (1, 9)]
    await answers.aclose()
