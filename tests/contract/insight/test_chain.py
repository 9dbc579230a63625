"""The chains of usage entries in SQL: what a batch adds, corrections, repeats, and what an upgrade makes of older entries."""

from collections.abc import AsyncIterator, Sequence

import pytest
import sqlalchemy as sa

from tenantry.insight import usage_chain
from tenantry.insight.store_sql.chain import SqlChain
from tenantry.insight.store_sql.jobs import SqlJobs
from tenantry.insight.store_sql.ledger import SqlLedger
from tenantry.insight.usage_chain import Link
from tenantry.kit.hash_chain import Walk
from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.sql import Database, migrate
from tests.contract.insight.entry import ACME, GLOBEX, batch, entry

EVERYONE = Platform()


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    database = Database(sql_url, "insight")
    await migrate(database, "tenantry.insight.migrations")
    yield database
    await database.close()


async def _ledger(database: Database, holder: str = "me") -> SqlLedger:
    assert await SqlJobs(database, holder).claim(EVERYONE, "job", 600)
    return SqlLedger(database, holder)


async def _whole(database: Database, owner: Tenant = ACME) -> Sequence[Link]:
    """The owner's chain, which must be whole."""
    links, digests, head = await SqlChain(database).links(owner, -(2**62), 1000)
    walk = Walk()
    for link in links:
        hashed = usage_chain.fields_of(usage_chain.name_of(owner), link.number, link.batch, link.entry)
        assert walk.fault_of(link.number, link.hash, hashed) is None
    assert head is not None and walk.short_of(head.last, head.digest) is None
    assert [digest.batch for digest in digests] == sorted({link.batch for link in links})
    return links


async def test_batches_go_on_whichever_replica_writes_them(database: Database) -> None:
    one, other = await _ledger(database), SqlLedger(database, "me")
    for number in range(6):
        ledger = (one, other)[number % 2]
        await ledger.enter(EVERYONE, batch(entry(f"r{number}"), entry(f"g{number}", GLOBEX)), "job", 600)
    assert [link.batch for link in await _whole(database)] == [1, 2, 3, 4, 5, 6]
    assert len(await _whole(database, GLOBEX)) == 6


async def test_a_batch_that_comes_again_adds_nothing(database: Database) -> None:
    ledger = await _ledger(database)
    for _ in range(3):
        await ledger.enter(EVERYONE, batch(entry("r1"), entry("r2")), "job", 600)
    await ledger.enter(EVERYONE, batch(entry("r2"), entry("r3")), "job", 600)
    assert [(link.entry.reservation, link.batch) for link in await _whole(database)] == [
        ("r1", 1),
        ("r2", 1),
        ("r3", 2),
    ]


async def test_a_correction_is_an_entry_of_its_own_and_the_estimate_stays(database: Database) -> None:
    ledger = await _ledger(database)
    guess, truth = entry("r1", estimated=True, output_tokens=9), entry("r1", output_tokens=5)
    await ledger.enter(EVERYONE, batch(guess, entry("r2")), "job", 600)
    await ledger.enter(EVERYONE, batch(truth), "job", 600)
    await ledger.enter(EVERYONE, batch(entry("r3", estimated=True), entry("r3")), "job", 600)
    links = await _whole(database)
    assert [link.entry for link in links[:3]] == [guess, entry("r2"), truth]
    assert [(link.entry.estimated, link.batch) for link in links[3:]] == [(True, 3), (False, 3)]
    total, _ = await ledger.sums(ACME, 0, 2**62, None)
    assert (total.requests, total.output_tokens, total.estimated) == (3, 15, 0)


async def test_a_page_is_as_long_as_it_was_asked_to_be(database: Database) -> None:
    ledger = await _ledger(database)
    await ledger.enter(EVERYONE, batch(*(entry(f"r{number}") for number in range(9))), "job", 600)
    links, digests, head = await SqlChain(database).links(ACME, 3, 4)
    assert [link.number for link in links] == [4, 5, 6, 7]
    assert len(digests) == 1 and head is not None and head.last == 9


async def test_entries_from_before_the_chain_become_its_first_batches(
    sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenantry.kit import migrations

    database = Database(sql_url, "insight")
    try:
        newest = migrations._revisions("tenantry.insight.migrations")
        with monkeypatch.context() as patch:
            older = {name: path for name, path in newest.items() if name == "0001"}
            patch.setattr(migrations, "_revisions", lambda _: older)
            patch.setattr("alembic.script.ScriptDirectory.get_heads", lambda _: ["0001"])
            real = migrations.__dict__["_upgrade"]

            def only_first(connection: sa.Connection, database: Database, package: str, revisions: object) -> None:
                from alembic.script import ScriptDirectory

                upgrade = ScriptDirectory._upgrade_revs
                patch.setattr(ScriptDirectory, "_upgrade_revs", lambda self, _, now: upgrade(self, "0001", now))
                real(connection, database, package, revisions)

            patch.setattr(migrations, "_upgrade", only_first)
            await migrate(database, "tenantry.insight.migrations")
        async with database.write() as connection:
            for number in range(1203):
                values = _old_row(f"r{number:04}", number)
                await connection.execute(_OLD.insert().values(values))
        await migrate(database, "tenantry.insight.migrations")
        links, _, head = await SqlChain(database).links(ACME, 0, 2000)
        assert len(links) == 1203 and head is not None and (head.batch, head.entries) == (3, 203)
        await (await _ledger(database)).enter(EVERYONE, batch(entry("new")), "job", 600)
        assert len((await SqlChain(database).links(ACME, 0, 2000))[0]) == 1204
    finally:
        await database.close()


_OLD = sa.Table(
    "entries",
    sa.MetaData(),
    *(sa.Column(name, sa.Text) for name in ("reservation", "organisation", "tenant", "key_id", "end_user", "provider")),
    *(sa.Column(name, sa.Text) for name in ("model", "model_revision", "request_id", "prompt")),
    *(sa.Column(name, sa.BigInteger) for name in ("settled_us", "input_tokens", "output_tokens", "cost_micros")),
    *(sa.Column(name, sa.BigInteger) for name in ("latency_ns", "latency_bucket", "outcome", "prompt_revision")),
    *(sa.Column(name, sa.Boolean) for name in ("estimated", "cache_hit")),
)


def _old_row(reservation: str, number: int) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(("key_id", "end_user", "provider", "model", "model_revision", "prompt"), "")
    row |= dict.fromkeys(("input_tokens", "output_tokens", "cost_micros", "latency_ns", "latency_bucket"), 1)
    row |= {"reservation": reservation, "organisation": "acme-org", "tenant": "acme", "settled_us": number // 7}
    return row | {"request_id": "", "outcome": 1, "prompt_revision": 1, "estimated": False, "cache_hit": False}
