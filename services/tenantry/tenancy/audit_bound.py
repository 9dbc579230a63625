"""How many refusals a log takes a minute, from all replicas of all services together. Pure functions of values."""

from dataclasses import dataclass, replace

from tenantry.kit.audit_refusals import A_MINUTE, OTHERS
from tenantry.tenancy.records import AuditEntry

_MINUTE_NS = 60 * 10**9


@dataclass(frozen=True, slots=True)
class Minute:
    """The minute of a log's last refusal: how many entered in it, and how many more were refused a place."""

    minute: int
    refusals: int
    others: int


def next_refusal(before: Minute, entry: AuditEntry, now_ns: int) -> tuple[AuditEntry | None, Minute]:
    """What to enter first of an earlier minute's others, and the minute after the entry: it has a place if that has no
    others."""
    minute = now_ns // _MINUTE_NS
    if minute > before.minute:
        summary = None
        if before.others:
            time_ns = before.minute * _MINUTE_NS
            summary = AuditEntry(time_ns, "", OTHERS, "", "RESOURCE_EXHAUSTED", count=before.others)
        return summary, Minute(minute, 1, 0)
    if before.refusals >= A_MINUTE:
        return None, replace(before, others=before.others + entry.count)
    return None, replace(before, refusals=before.refusals + 1)
