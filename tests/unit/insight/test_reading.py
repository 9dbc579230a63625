"""The reader of the outbox: what is acknowledged was kept, one replica reads, faults are waited out."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tenantry.insight.entries import Batch, Cursor
from tenantry.insight.outbox import OutboxStream
from tenantry.insight.reading import JOB, Reader
from tenantry.insight.store_sql.jobs import SqlJobs
from tenantry.insight.store_sql.ledger import SqlLedger
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import DeadlineExceeded, Reason, StoreUnavailable, TenantryError, Unavailable
from tenantry.kit.owner import Platform
from tenantry.kit.sql import Database, migrate
from tests.contract.insight.entry import ACME, batch, entry
from tests.harness.clock import FrozenClock
from tests.harness.poll import until

AWAY = Unavailable(Reason.SERVICE_UNAVAILABLE, "quota is away")


class Scripted:
    """An outbox, its ledger and the claim: `script` is what the streams bring, an error to raise or a batch."""

    def __init__(self, *script: Batch | TenantryError) -> None:
        self.script = list(script)
        self.log: list[str] = []
        self.mine = True
        self.store_away = False

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[OutboxStream]:
        self.log.append("open")
        yield self

    async def next(self, within_s: float) -> Batch | None:
        await asyncio.sleep(0)
        if not self.script:
            await asyncio.sleep(0.01)
            return None
        step = self.script.pop(0)
        if isinstance(step, TenantryError):
            raise step
        return step

    async def acknowledge(self, cursor: Cursor) -> None:
        self.log.append(f"acknowledge {cursor.position}")

    async def enter(self, owner: Platform, batch: Batch, job: str, seconds: float) -> bool:
        if self.store_away:
            raise StoreUnavailable("sql")
        if self.mine:
            self.log.append(f"enter {batch.cursor.position}")
        return self.mine

    async def claim(self, owner: Platform, job: str, seconds: float) -> bool:
        return self.mine

    async def release(self, owner: Platform, job: str) -> None:
        self.log.append("release")


def reader_of(scripted: Scripted, clock: FrozenClock) -> Reader:
    return Reader(scripted, scripted, scripted, clock)  # type: ignore[arg-type]  # it stands in for all three


async def stopped(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_batch_is_kept_before_it_is_acknowledged(clock: FrozenClock) -> None:
    scripted = Scripted(batch(entry("r1"), position="1-0"), batch(entry("r2"), position="2-0"))
    task = asyncio.create_task(reader_of(scripted, clock).run())
    await until(lambda: len(scripted.log) == 5)
    await stopped(task)
    assert scripted.log == ["open", "enter 1-0", "acknowledge 1-0", "enter 2-0", "acknowledge 2-0", "release"]


async def test_what_could_not_be_kept_is_not_acknowledged(clock: FrozenClock) -> None:
    scripted = Scripted(batch(entry("r1")))
    scripted.store_away = True
    task = asyncio.create_task(reader_of(scripted, clock).run())
    await until(lambda: clock.sleepers == 1)
    assert scripted.log == ["open"]
    await stopped(task)


async def test_who_has_lost_the_claim_acknowledges_nothing_and_waits_for_it(clock: FrozenClock) -> None:
    scripted = Scripted(batch(entry("r1")))
    reader = reader_of(scripted, clock)
    task = asyncio.create_task(reader.run())
    scripted_claim = scripted.claim

    async def claim_then_lose(owner: Platform, job: str, seconds: float) -> bool:
        had = await scripted_claim(owner, job, seconds)
        scripted.mine = False
        return had

    scripted.claim = claim_then_lose  # type: ignore[method-assign]
    await until(lambda: clock.sleepers == 1)
    assert scripted.log == ["open"]
    await stopped(task)


async def test_failures_are_waited_out_longer_each_time_and_logged_once(
    clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    scripted = Scripted(*[AWAY] * 12, batch(entry("r1")))
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(reader_of(scripted, clock).run())
        for _ in range(12):
            await until(lambda: clock.sleepers == 1)
            clock.advance(5.0)
        await until(lambda: "acknowledge 1-0" in scripted.log)
    assert [record.message for record in caplog.records] == ["settled usage can't be read: quota is away"]
    assert clock.now() - 1_700_000_000 <= 60
    await stopped(task)


async def test_a_stream_that_the_server_ends_in_time_is_opened_again_without_a_word(
    clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    scripted = Scripted(DeadlineExceeded(), batch(entry("r1")))
    task = asyncio.create_task(reader_of(scripted, clock).run())
    await until(lambda: clock.sleepers == 1)
    clock.advance(0.2)
    await until(lambda: "acknowledge 1-0" in scripted.log)
    assert scripted.log.count("open") == 2 and not caplog.records
    await stopped(task)


async def test_of_two_replicas_one_reads_and_the_other_follows_when_it_stops(
    tmp_path: Path, clock: FrozenClock
) -> None:
    databases = [Database(f"sqlite:///{tmp_path}/insight.db", "insight") for _ in range(2)]
    await migrate(databases[0], "tenantry.insight.migrations")
    outboxes = Scripted(batch(entry("r1"))), Scripted(batch(entry("r2")))
    tasks: list[asyncio.Task[None]] = []
    for place, name in enumerate(("one", "two")):
        ledger, jobs = SqlLedger(databases[place], name), SqlJobs(databases[place], name)
        used = SystemClock() if place == 0 else clock
        tasks.append(asyncio.create_task(Reader(outboxes[place], ledger, jobs, used).run()))  # type: ignore[arg-type]
        if place == 0:
            await until(lambda: "acknowledge 1-0" in outboxes[0].log)
    await until(lambda: clock.sleepers == 1)
    assert outboxes[1].log == []
    await stopped(tasks[0])
    clock.advance(3.0)
    await until(lambda: "acknowledge 1-0" in outboxes[1].log)
    await stopped(tasks[1])
    assert await SqlJobs(databases[0], "three").claim(Platform(), JOB, 1)
    assert len(await SqlLedger(databases[0], "three").entries(ACME, "", None, 10)) == 2
    for database in databases:
        await database.close()
