"""Entries as rows, and rows as entries."""

from typing import Any

from sqlalchemy import RowMapping

from tenantry.insight.entries import Entry, Usage, latency_bucket
from tenantry.insight.usage_chain import Link
from tenantry.kit.owner import Tenant

_USAGE = tuple(Usage.__dataclass_fields__)


def row_of(link: Link) -> dict[str, Any]:
    """The row of an entry at its place in the chain."""
    entry = link.entry
    return {name: getattr(entry.usage, name) for name in _USAGE} | {
        "reservation": entry.reservation,
        "number": link.number,
        "batch": link.batch,
        "hash": link.hash,
        "organisation": entry.owner.organisation,
        "tenant": entry.owner.id,
        "key_id": entry.key_id,
        "end_user": entry.end_user,
        "estimated": entry.estimated,
        "settled_us": entry.settled_us,
        "latency_bucket": -1 if entry.estimated else latency_bucket(entry.usage.latency_ns),
    }


def entry_of(row: RowMapping) -> Entry:
    """The entry of a row."""
    return Entry(
        row["reservation"],
        Tenant(row["organisation"], row["tenant"]),
        row["key_id"],
        row["end_user"],
        row["estimated"],
        row["settled_us"],
        Usage(**{name: row[name] for name in _USAGE}),
    )
