"""What the request path needs from SQL, remembered for as long as it is true: a change log, its poller and bounded memories.

A transaction that changes something calls `record` last. The log's number is raised by updating one row, whose lock is held
until the commit: so numbers become visible in their order and without gaps (a sequence's would not). Every replica's `Poller`
asks for the numbers after the last it saw and drops from its memories what they name, remembered misses too. A poller that
fell behind what the log still holds drops everything; while polls fail, memories stop answering and ask SQL.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit.clock import Clock, SystemClock
from tenantry.kit.errors import StoreFailed, TenantryError
from tenantry.kit.sql import Database

log = logging.getLogger(__name__)

EVERY_S = 0.4  # twice a second is promised; a poll costs about a millisecond of CPU on SQLite
KEEP_S = 600.0
_TRIM_EVERY_S = 60.0
_MOST_AT_ONCE = 1000
_NOTHING_SEEN = 2**62

_metadata = MetaData()
_changes = Table(
    "changes",
    _metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("at", Float, nullable=False, index=True),
)
_counter = Table(
    "changes_counter",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)
# Made once: several services ask it several times a second.
_READ = (
    select(_counter.c.number.label("last"), _changes.c.number, _changes.c.kind, _changes.c.key)
    .select_from(_counter.outerjoin(_changes, _changes.c.number > bindparam("after")))
    .order_by(_changes.c.number)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the log. An empty key means everything of its kind."""

    number: int
    kind: str
    key: str


def create_tables(connection: Connection) -> None:
    """Both tables of the log, for a service's migration: `changes.create_tables(op.get_bind())`."""
    _metadata.create_all(connection, checkfirst=False)
    connection.execute(insert(_counter).values(id=1, number=0))


async def record(connection: AsyncConnection, kind: str, key: str = "", *, clock: Clock | None = None) -> int:
    """Enter a change in the transaction that makes it, and return its number; without a key it is about all of its kind.

    Call it last: from here to the commit no other transaction of the service can enter a change.
    """
    raised = (
        update(_counter).where(_counter.c.id == 1).values(number=_counter.c.number + 1).returning(_counter.c.number)
    )
    number = (await connection.execute(raised)).scalar_one()
    at = (clock or SystemClock()).now()
    await connection.execute(insert(_changes).values(number=number, kind=kind, key=key, at=at))
    return int(number)


async def read(connection: AsyncConnection, after: int, most: int = _MOST_AT_ONCE) -> tuple[int, list[Change] | None]:
    """The last number there is, and the changes after `after`; None when the log no longer (or not yet) tells them all."""
    rows = (await connection.execute(_READ, {"after": after, "most": most})).all()
    if not rows:
        raise StoreFailed("the change log has no counter: were the migrations run?")
    last = int(rows[0][0])
    changes = [Change(int(row[1]), row[2], row[3]) for row in rows if row[1] is not None]
    # Numbers have no gaps, so the right count means that none is missing. An older last number: a backup came back.
    return last, changes if len(changes) == last - after else None


class Remembers(Protocol):
    """What a poller keeps true: a Memory, or whatever else can drop what it holds."""

    kind: str

    def drop(self, key: str) -> None: ...
    def drop_all(self) -> None: ...
    def confirm(self, asked_at: float) -> None: ...


class Poller:
    """Keeps memories true. `run` goes into the room's background tasks; until its first success nothing is remembered."""

    def __init__(
        self, database: Database, memories: Sequence[Remembers], *, keep_s: float = KEEP_S, clock: Clock | None = None
    ) -> None:
        self._database = database
        self._memories = tuple(memories)
        self._keep_s = keep_s
        self._clock = clock or SystemClock()
        self._watchers: list[Callable[[Sequence[Change] | None], None]] = []
        self._seen = _NOTHING_SEEN
        self._trimmed_at = self._clock.monotonic()

    def watch(self, watcher: Callable[[Sequence[Change] | None], None]) -> None:
        """Call `watcher` with the changes each poll finds, in order; with None when it must read everything anew."""
        self._watchers.append(watcher)

    async def run(self) -> None:
        """Poll for ever. A failed poll is logged once a spell; the memories notice by themselves that they grow old."""
        failing = False
        while True:
            started = self._clock.monotonic()
            try:
                await self.poll()
                await self._trim_sometimes()
                failing = False
            except TenantryError as error:
                if not failing:
                    log.warning("the change log can't be read: %s", error.message)
                failing = True
            await self._clock.sleep(max(0.0, EVERY_S - (self._clock.monotonic() - started)))

    async def poll(self) -> None:
        """Read the log once and drop what changed."""
        asked_at = self._clock.monotonic()
        async with self._database.read() as connection:
            last, changes = await read(connection, self._seen)
        self._drop(changes)
        self._seen = last
        for memory in self._memories:
            memory.confirm(asked_at)

    def _drop(self, changes: Sequence[Change] | None) -> None:
        if changes is not None and not changes:
            return
        for memory in self._memories:
            if changes is None:
                memory.drop_all()
                continue
            for change in changes:
                if change.kind == memory.kind:
                    memory.drop(change.key) if change.key else memory.drop_all()
        for watcher in self._watchers:
            watcher(changes)

    async def _trim_sometimes(self) -> None:
        if self._clock.monotonic() - self._trimmed_at < _TRIM_EVERY_S:
            return
        self._trimmed_at = self._clock.monotonic()
        async with self._database.write() as connection:
            await trim(connection, self._clock.now() - self._keep_s)


async def trim(connection: AsyncConnection, before: float) -> None:
    """Forget the entries made before this Unix time; a poller that had not read them drops everything."""
    await connection.execute(delete(_changes).where(_changes.c.at < before))
