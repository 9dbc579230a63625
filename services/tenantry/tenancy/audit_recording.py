"""What other services have to say: which of it is entered, in whose log, and how."""

import re
from collections.abc import Sequence

from tenantry.kit import owner
from tenantry.kit.audit import Record
from tenantry.kit.clock import Clock
from tenantry.kit.errors import InvalidArgument, PermissionDenied, Reason
from tenantry.tenancy.records import AuditEntry
from tenantry.tenancy.store import PLATFORM, Store, Transaction

_RECORD = re.compile(r"[a-z0-9_]{1,64}")
_ACTION = re.compile(r"[A-Za-z]{1,64}")
_CODE = re.compile(r"[A-Z_]{1,64}")
_LONGEST_TEXT = 200
# All that ids are made of: no control characters, nothing that turns text round or looks like another letter.
_STRANGE = re.compile(r"[^!-~]")


def check(record: Record, changes: frozenset[str]) -> None:
    """Refuses a record that is malformed, or of a change that is not made by an RPC of the service that sends it."""
    if not _RECORD.fullmatch(record.id):
        raise InvalidArgument("records.record", "is not an id")
    if not (_ACTION.fullmatch(record.action) and _CODE.fullmatch(record.outcome)):
        raise InvalidArgument("records.action", "is not the name of an RPC with the name of a status code")
    if record.reason and not _CODE.fullmatch(record.reason):
        raise InvalidArgument("records.reason", "is not the name of a reason")
    if not (1 <= record.count < 2**31 and 0 <= record.time_ns < 2**62):
        raise InvalidArgument("records.count", "or the time is out of bounds")
    if record.outcome == "OK" and record.action not in changes:
        raise PermissionDenied(Reason.CALLER_NOT_ALLOWED, "a service may record only changes of its own")


def entry_of(record: Record, service: str) -> AuditEntry:
    """The entry, which bears the name of the service that recorded it. Text that is odd is cut, since it must not hold up
    what comes after it."""
    return AuditEntry(
        record.time_ns,
        plain(record.principal),
        record.action,
        plain(record.subject),
        record.outcome,
        service,
        record.reason,
        record.count,
    )


def plain(text: str) -> str:
    """The text as one short word that can't be taken for another line, field or id."""
    return _STRANGE.sub("?", text[:_LONGEST_TEXT])


class AuditRecording:
    """Enters records of other services."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def record(self, service: str, records: Sequence[Record], changes: frozenset[str]) -> int:
        """How many entered. `changes` are the RPCs by which administrators change what the service keeps."""
        for record in records:
            check(record, changes)
        entered = 0
        async with self._store.write() as tx:
            placed = [(await _log(tx, record.whose), record) for record in records]
            # In one order everywhere, so that two replicas that write to the same logs don't wait for each other.
            for whose, record in sorted(placed, key=lambda one: repr(one[0])):
                known_as = f"{service}:{record.id}"
                entry = entry_of(record, service)
                entered += await tx.audit.enter(whose, entry, known_as, self._clock.now_ns())
        return entered


async def _log(tx: Transaction, whose: owner.Owner) -> owner.Owner:
    """Whose log it is for, if there is such a tenant in such an organisation; else the platform's."""
    match whose:
        case owner.Tenant():
            tenant = await tx.tenants.get(whose)
            return whose if tenant is not None and tenant.organisation == whose.organisation else PLATFORM
        case owner.Organisation():
            return whose if await tx.organisations.get(whose) is not None else PLATFORM
        case _:
            return PLATFORM
