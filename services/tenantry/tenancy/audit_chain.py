"""The hash chain of an audit log: each event's hash is SHA-256 over the hash before it and its own fields.

Fields are length-prefixed, so that no two events have the same text; the log's owner is the first, so that a log
can't be passed off as another's. A pure rule, which `tenantry audit verify` computes anew.
"""

import hashlib
from collections.abc import Iterable

from tenantry.tenancy.records import AuditEntry, AuditEvent

START = bytes(32)


def link(log: str, previous: bytes, number: int, entry: AuditEntry) -> bytes:
    """The hash of the event `number` of `log`, after one whose hash is `previous`."""
    digest = hashlib.sha256(previous)
    fields = (log, str(number), str(entry.time_ns), entry.principal, entry.action, entry.subject, entry.outcome)
    if (entry.service, entry.reason, entry.count) != ("", "", 1):  # older events have no such fields
        fields += (entry.service, entry.reason, str(entry.count))
    for field in fields:
        data = field.encode()
        digest.update(len(data).to_bytes(4))
        digest.update(data)
    return digest.digest()


class Walk:
    """Follows a chain, oldest first, one event at a time. It begins at the first, unless it is told what comes before."""

    def __init__(self, log: str, number: int = 0, previous: bytes = START) -> None:
        self.log = log
        self.number = number
        self.hash: bytes = previous

    def fault_of(self, event: AuditEvent) -> str | None:
        """What is wrong with the next event; None, and one step further, if nothing is."""
        if event.number != self.number + 1:
            return f"the event {self.number + 1} is missing: {event.number} comes in its place"
        if event.hash != link(self.log, self.hash, event.number, event.entry):
            return f"the event {event.number} is not the one that was written there"
        self.number, self.hash = event.number, event.hash
        return None


def first_broken(log: str, events: Iterable[AuditEvent]) -> int | None:
    """The number at which a whole log, oldest first, was changed or lacks an event; None if it is as it was written."""
    walk = Walk(log)
    for event in events:
        if walk.fault_of(event) is not None:
            return walk.number + 1
    return None
