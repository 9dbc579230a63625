"""The audit logs: reading them, and writing what tenancy itself does and refuses. `audit_recording` takes the others' word."""

from collections.abc import Sequence

from tenantry.kit import audit_refusals, owner, paging
from tenantry.kit.audit import Record
from tenantry.kit.audit_refusals import OF_ADMINISTRATORS, OF_ALL, Refusal
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import InvalidArgument
from tenantry.tenancy.audit_recording import entry_of, plain
from tenantry.tenancy.reach import own, owner_of, reached
from tenantry.tenancy.records import AuditEntry, AuditEvent, AuditHead
from tenantry.tenancy.store import Store, Transaction

__all__ = ["REFUSALS", "AuditLogs", "Refusal", "Refusals", "write"]

REFUSALS = OF_ALL | OF_ADMINISTRATORS
_LARGEST = 2**62


async def write(tx: Transaction, whose: owner.Owner, caller: Caller, action: str, subject: str, now_ns: int) -> None:
    """Enters what the caller did, in the transaction that does it."""
    await tx.audit.append(whose, AuditEntry(now_ns, plain(caller.principal), action, plain(subject)))


class AuditLogs:
    """Reads logs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(
        self, caller: Caller, tenant: str, from_number: int, size: int, token: str
    ) -> tuple[tuple[AuditEvent, ...], str, AuditHead]:
        """A page of a tenant's log, newest first or from a number on, the next page's token, and the log's end. Without a
        tenant: of the caller's own log."""
        most = paging.size_of(size)
        position = paging.position_of(token, (int,))
        at = None if position is None else int(position[0])
        if at is not None and not 0 < at < _LARGEST:
            raise InvalidArgument("page.token", "is not a token that this list gave")
        if not 0 <= from_number < _LARGEST:
            raise InvalidArgument("from_number", "is out of bounds")
        async with self._store.read() as tx:
            whose: owner.Owner = own(caller)
            if tenant:
                whose = owner_of(reached(caller, await tx.tenants.get(owner.Tenant("", tenant))))
            if from_number:
                # From the first: who adds an event to the tables may give it any number, and it must be seen.
                first = -_LARGEST if from_number == 1 else from_number
                events = await tx.audit.list_from(whose, first if at is None else at + 1, most + 1)
            else:
                events = await tx.audit.list(whose, at, most + 1)
            head = await tx.audit.head(whose)
        shown = events[:most]
        return shown, paging.token_of(shown[-1].number) if len(events) > most else "", head


class Refusals(audit_refusals.Refusals):
    """What tenancy's own use cases refuse, with its subject. `run` belongs to the room's background."""

    def __init__(self, store: Store, clock: Clock) -> None:
        async def deliver(records: Sequence[Record], /) -> None:
            async with store.write() as tx:
                # In one order everywhere, so that two replicas that write to the same logs don't wait for each other.
                for record in sorted(records, key=lambda one: repr(one.whose)):
                    await tx.audit.enter(record.whose, entry_of(record, ""), f":{record.id}", clock.now_ns())

        super().__init__(deliver, clock)
