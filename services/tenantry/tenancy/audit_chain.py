"""The hash chain of an audit log: each event's hash is SHA-256 over the hash before it and its own fields.

Fields are length-prefixed, so that no two events have the same text; the log's owner is the first, so that a log
can't be passed off as another's.
"""

import hashlib
from collections.abc import Iterable

from tenantry.tenancy.records import AuditEntry, AuditEvent

START = bytes(32)


def link(log: str, previous: bytes, number: int, entry: AuditEntry) -> bytes:
    """The hash of the event `number` of `log`, after one whose hash is `previous`."""
    digest = hashlib.sha256(previous)
    fields = (log, str(number), str(entry.time_ns), entry.principal, entry.action, entry.subject, entry.outcome)
    for field in fields:
        data = field.encode()
        digest.update(len(data).to_bytes(4))
        digest.update(data)
    return digest.digest()


def first_broken(log: str, events: Iterable[AuditEvent]) -> int | None:
    """The number at which a whole log, oldest first, was changed or lacks an event; None if it is as it was written."""
    previous = START
    expected = 1
    for event in events:
        if event.number != expected or event.hash != link(log, previous, event.number, event.entry):
            return expected
        previous = event.hash
        expected += 1
    return None
