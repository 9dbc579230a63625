"""Changes on their way to the audit log, on each kind of database."""

from collections.abc import AsyncIterator, Sequence

import pytest
import sqlalchemy as sa

from tenantry.kit import audit_outbox, call
from tenantry.kit.audit import Record
from tenantry.kit.errors import Reason, Unavailable
from tenantry.kit.owner import Organisation, Platform, Tenant
from tenantry.kit.sql import Database
from tests.harness.clock import FrozenClock
from tests.harness.room import caller_of

ACME = Tenant("acme-org", "acme")


class Tenancy:
    """What was delivered; it may be away."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.away = False

    async def __call__(self, records: Sequence[Record], /) -> None:
        if self.away:
            raise Unavailable(Reason.SERVICE_UNAVAILABLE, "away")
        self.records += records


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    database = Database(sql_url, "changer")
    async with database.write() as connection:
        if not database.is_sqlite:
            await connection.execute(sa.text("CREATE SCHEMA changer"))
        await connection.run_sync(audit_outbox.create_tables)
    yield database
    await database.close()


async def test_what_was_committed_is_delivered_in_order_and_once(database: Database, clock: FrozenClock) -> None:
    tenancy = Tenancy()
    sender = audit_outbox.Sender(database, tenancy, clock)
    with call.entered(call.Call(caller=caller_of(key_id="key_7"))):
        async with database.write() as connection:
            for whose in (ACME, Organisation("acme-org"), Platform()):
                await audit_outbox.append(connection, whose, "UpdatePrompt", "greeting", clock=clock)
    assert await sender.send() == 3 and await sender.send() == 0
    assert {record.whose for record in tenancy.records} == {ACME, Organisation("acme-org"), Platform()}
    assert {(record.principal, record.action, record.subject) for record in tenancy.records} == {
        ("key_7", "UpdatePrompt", "greeting")
    }


async def test_a_change_that_was_rolled_back_is_not_delivered(database: Database, clock: FrozenClock) -> None:
    tenancy = Tenancy()
    with pytest.raises(ZeroDivisionError):
        async with database.write() as connection:
            await audit_outbox.append(connection, ACME, "UpdatePrompt", "greeting")
            raise ZeroDivisionError
    assert await audit_outbox.Sender(database, tenancy, clock).send() == 0


async def test_what_could_not_be_delivered_is_delivered_later_with_the_same_id(
    database: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenancy = Tenancy()
    sender = audit_outbox.Sender(database, tenancy, clock)
    async with database.write() as connection:
        await audit_outbox.append(connection, ACME, "UpdatePrompt", "greeting")
    tenancy.away = True
    with pytest.raises(Unavailable):
        await sender.send()
    tenancy.away = False

    async def dies(_: Sequence[str]) -> None:
        raise Unavailable(Reason.STORE_UNAVAILABLE, "killed between the delivery and its own note of it")

    with monkeypatch.context() as patch, pytest.raises(Unavailable):
        patch.setattr(sender, "_forget", dies)
        await sender.send()
    await sender.send()
    assert len(tenancy.records) == 2 and len({record.id for record in tenancy.records}) == 1


async def test_no_change_is_made_that_the_log_could_not_hold(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_outbox, "MOST", 2)
    async with database.write() as connection:
        for _ in range(2):
            await audit_outbox.append(connection, ACME, "UpdatePrompt", "greeting")
    with pytest.raises(Unavailable):
        async with database.write() as connection:
            await audit_outbox.append(connection, ACME, "UpdatePrompt", "greeting")
