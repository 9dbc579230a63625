"""The hash chain of an audit log. A pure rule, which `tenantry audit verify` follows again."""

from collections.abc import Iterable

from tenantry.kit import hash_chain
from tenantry.kit.hash_chain import Walk
from tenantry.tenancy.records import AuditEntry, AuditEvent

START = hash_chain.START


def link(log: str, previous: bytes, number: int, entry: AuditEntry) -> bytes:
    """The hash of the event `number` of `log`, after one whose hash is `previous`."""
    return hash_chain.link(previous, fields_of(log, number, entry))


def fields_of(log: str, number: int, entry: AuditEntry) -> tuple[str, ...]:
    """What is hashed of an event."""
    fields = (log, str(number), str(entry.time_ns), entry.principal, entry.action, entry.subject, entry.outcome)
    if (entry.service, entry.reason, entry.count) == ("", "", 1):  # as all of the first version
        return fields
    return (*fields, entry.service, entry.reason, str(entry.count))


def first_broken(log: str, events: Iterable[AuditEvent]) -> int | None:
    """The number at which a whole log, oldest first, was changed or lacks an event; None if it is as it was written."""
    walk = Walk()
    for event in events:
        if walk.fault_of(event.number, event.hash, fields_of(log, event.number, event.entry)) is not None:
            return walk.number + 1
    return None
