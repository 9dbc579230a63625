"""The audit log: reading it, and writing what was refused, which has no transaction to ride on.

Refusals are gathered in a bounded memory and written a few times a second, equal ones once and only so many a minute
for each log: who is refused a thousand times a second must not fill the disk, or slow down anybody's request.
"""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass

from tenantry.kit import owner, paging
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import InvalidArgument, TenantryError
from tenantry.tenancy.reach import own, owner_of, reached
from tenantry.tenancy.records import AuditEntry, AuditEvent
from tenantry.tenancy.store import Store, Transaction

log = logging.getLogger(__name__)

# What an administrator did wrong, as against a slip of the pen or a fault of ours.
REFUSALS = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"})
_GATHERED = 1000
_A_MINUTE = 60
_EVERY_S = 0.25


async def write(tx: Transaction, whose: owner.Owner, caller: Caller, action: str, subject: str, now_ns: int) -> None:
    """Enters what the caller did, in the transaction that does it."""
    await tx.audit.append(whose, AuditEntry(now_ns, caller.principal, action, subject))


class AuditLogs:
    """Reads logs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(self, caller: Caller, tenant: str, size: int, token: str) -> tuple[tuple[AuditEvent, ...], str]:
        """A page of a tenant's log, newest first, and the next page's token. Without a tenant: of the caller's own
        log."""
        most = paging.size_of(size)
        position = paging.position_of(token, (int,))
        before = None if position is None else int(position[0])
        if before is not None and not 0 < before < 2**62:
            raise InvalidArgument("page.token", "is not a token that this list gave")
        async with self._store.read() as tx:
            whose: owner.Owner = own(caller)
            if tenant:
                whose = owner_of(reached(caller, await tx.tenants.get(owner.Tenant("", tenant))))
            events = await tx.audit.list(whose, before, most + 1)
        shown = events[:most]
        return shown, paging.token_of(shown[-1].number) if len(events) > most else ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Who was refused what: it goes into the log of the one who was refused."""

    whose: owner.Owner
    principal: str
    action: str
    subject: str
    outcome: str


class Refusals:
    """Gathers refusals and writes them. `run` belongs to the room's background."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._gathered: dict[Refusal, int] = {}
        self._written: Counter[owner.Owner] = Counter()
        self._minute = 0.0

    def note(self, refusal: Refusal) -> None:
        """Remembers a refusal until it is written."""
        if refusal in self._gathered or len(self._gathered) >= _GATHERED:
            return
        if self._clock.monotonic() - self._minute >= 60.0:
            self._minute = self._clock.monotonic()
            self._written.clear()
        if self._written[refusal.whose] < _A_MINUTE:
            self._written[refusal.whose] += 1
            self._gathered[refusal] = self._clock.now_ns()

    async def flush(self) -> None:
        """Writes what was gathered; what can't be written now is tried again."""
        gathered, self._gathered = self._gathered, {}
        if not gathered:
            return
        try:
            async with self._store.write() as tx:
                # In one order everywhere, so that two replicas that write to the same logs don't wait for each other.
                for refusal in sorted(gathered, key=repr):
                    await tx.audit.append(refusal.whose, _entry(refusal, gathered[refusal]))
        except BaseException:
            self._gathered = gathered | self._gathered
            raise

    async def run(self) -> None:
        """Flushes for ever, and once more at the end."""
        failing = False
        try:
            while True:
                await self._clock.sleep(_EVERY_S)
                try:
                    await self.flush()
                    failing = False
                except TenantryError as error:
                    if not failing:
                        log.warning("refusals can't be written to the audit log: %s", error.message)
                    failing = True
        finally:
            await asyncio.shield(self._last_flush())

    async def _last_flush(self) -> None:
        try:
            await self.flush()
        except TenantryError as error:
            log.warning("refusals were lost from the audit log: %s", error.message)


def _entry(refusal: Refusal, time_ns: int) -> AuditEntry:
    return AuditEntry(time_ns, refusal.principal, refusal.action, refusal.subject, refusal.outcome)
