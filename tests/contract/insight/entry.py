"""Entries and spans as tests need them."""

from typing import Any

from tenantry.insight.entries import Batch, Cursor, Entry
from tenantry.insight.spans import Span
from tenantry.kit.owner import Tenant
from tenantry.kit.usage import Usage

ACME = Tenant("acme-org", "acme")
GLOBEX = Tenant("globex-org", "globex")
NOW_US = 1_700_000_000_000_000
TRACE = "0" * 31 + "1"


def entry(reservation: str, owner: Tenant = ACME, **given: Any) -> Entry:
    """A settled entry; what is not named of its usage is one call's ordinary figures."""
    named = {name: given.pop(name) for name in ("key_id", "end_user", "estimated", "settled_us") if name in given}
    usual: dict[str, Any] = {"input_tokens": 10, "output_tokens": 5, "cost_micros": 7, "model": "gpt", "outcome": 1}
    usage = Usage(**(usual | {"latency_ns": 100_000_000, "request_id": f"req_{reservation}"} | given))
    about: dict[str, Any] = {"key_id": "key_1", "end_user": "", "estimated": False, "settled_us": NOW_US} | named
    return Entry(reservation, owner, usage=usage, **about)


def batch(*entries: Entry, position: str = "1-0", bucket: int = 3) -> Batch:
    """A batch of one bucket."""
    return Batch(entries, Cursor(bucket, "epoch", position))


def span(number: int, trace_id: str = TRACE, tenant: str = "acme", **given: Any) -> Span:
    """Span `number` of a trace, a child of number 1."""
    usual: dict[str, Any] = {
        "parent_span_id": "" if number == 1 else f"{1:016x}",
        "service": "gateway",
        "name": f"work {number}",
        "start_ns": 1_700_000_000_000_000_000 + number,
        "duration_ns": 1_000_000,
        "failed": False,
        "request_id": "req_1",
        "attributes": "{}",
    }
    return Span(tenant, trace_id, f"{number:016x}", **(usual | given))
