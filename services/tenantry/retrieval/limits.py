"""How much a tenant may keep, and what is said when it is more."""

from dataclasses import dataclass

from tenantry.kit.errors import Reason, ResourceExhausted

MOST_DOCUMENTS = 10_000
MOST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """For one tenant: documents, and bytes of their text."""

    documents: int = MOST_DOCUMENTS
    bytes: int = MOST_BYTES


@dataclass(frozen=True, slots=True)
class Totals:
    """What a tenant keeps."""

    documents: int
    bytes: int


def check_room(now: Totals, then: Totals, limits: Limits) -> None:
    """Refuse a change that takes a tenant past a limit. One that makes less of what is too much is let through."""
    if then.documents > max(limits.documents, now.documents):
        raise _too_many("documents", limits.documents)
    if then.bytes > max(limits.bytes, now.bytes):
        raise _too_many("document bytes", limits.bytes)


def _too_many(kind: str, limit: int) -> ResourceExhausted:
    return ResourceExhausted(
        Reason.TOO_MANY, f"the tenant may keep {limit} {kind}; delete some first", kind=kind, limit=str(limit)
    )
