"""What of a span is kept: the tenant it says it is of, its times, and the attributes that can't hold content."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

TENANT = "tenantry.tenant.id"
REQUEST_ID = "tenantry.request.id"
_TENANT_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SERVICE_PREFIX = "tenantry-"
_LONGEST_NAME = 128
_LONGEST_KEY = 64
_LONGEST_VALUE = 256
_LONGEST_ATTRIBUTES = 2048
_LATEST_NS = 2**62
# By names, since other attributes of the GenAI conventions hold prompts, answers and the arguments of tools.
_NAMES = frozenset(
    {
        "server.address",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.max_tokens",
        "gen_ai.request.model",
        "gen_ai.request.temperature",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.model",
        "gen_ai.system",
    }
)
_PREFIXES = ("rpc.", "tenantry.", "gen_ai.usage.", "gen_ai.server.", "gen_ai.client.")

Value = str | bool | int | float | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: spans in all and in a trace, and for how long. So many spans and bytes may wait to be written."""

    spans: int = 500_000
    spans_in_trace: int = 1000
    age_s: float = 7 * 86400.0
    queued: int = 20_000
    queued_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reported:
    """A span as a service reported it, before anything of it is believed. A value of an unknown kind is None."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    service: str
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A span that is kept, for the tenant that may see it. Ids in hex digits; `parent_span_id` is empty for a root."""

    tenant: str
    trace_id: str
    span_id: str
    parent_span_id: str
    service: str
    name: str
    start_ns: int
    duration_ns: int
    failed: bool
    request_id: str
    attributes: str


@dataclass(frozen=True, slots=True)
class Trace:
    """A tenant's trace. Name, times and failure are its root's: the earliest span without a parent, or else of all."""

    trace_id: str
    request_id: str
    name: str
    start_ns: int
    duration_ns: int
    spans: int
    failed: bool


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of traces ended: the next has older ones."""

    start_ns: int
    trace_id: str


def kept(reported: Reported) -> Span | None:
    """What is kept of a span; None for junk, and for one without a tenant, which nobody could be shown."""
    tenant = _tenant(reported.attributes)
    identified = _is_id(reported.trace_id, 16) and _is_id(reported.span_id, 8)
    if tenant is None or not identified or not 0 < reported.start_ns <= reported.end_ns < _LATEST_NS:
        return None
    request_id = next((value for name, value in reported.attributes if name == REQUEST_ID), "")
    return Span(
        tenant,
        reported.trace_id.hex(),
        reported.span_id.hex(),
        reported.parent_span_id.hex() if _is_id(reported.parent_span_id, 8) else "",
        _cut(reported.service, _LONGEST_NAME).removeprefix(_SERVICE_PREFIX),
        _cut(reported.name, _LONGEST_NAME),
        reported.start_ns,
        reported.end_ns - reported.start_ns,
        reported.failed,
        _cut(request_id, _LONGEST_KEY) if isinstance(request_id, str) else "",
        _attributes(reported.attributes),
    )


def is_older_root(one: Span, other: Span) -> bool:
    """Whether `one` rather than `other` stands for the trace that both are of."""
    return (bool(one.parent_span_id), one.start_ns) < (bool(other.parent_span_id), other.start_ns)


def _tenant(attributes: Iterable[tuple[str, Value]]) -> str | None:
    """The tenant, if the span says one and only one: nobody may pick."""
    named = {value for name, value in attributes if name == TENANT}
    tenant = named.pop() if len(named) == 1 else None
    return tenant if isinstance(tenant, str) and _TENANT_ID.fullmatch(tenant) else None


def _attributes(attributes: Iterable[tuple[str, Value]]) -> str:
    found: dict[str, str] = {}
    left = _LONGEST_ATTRIBUTES
    for name, value in attributes:
        if value is None or len(name) > _LONGEST_KEY or not (name in _NAMES or name.startswith(_PREFIXES)):
            continue
        text = _cut(str(value).lower() if isinstance(value, bool) else str(value), _LONGEST_VALUE)
        left -= len(name.encode()) + len(text.encode())
        if left < 0:
            break
        found[_cut(name, _LONGEST_KEY)] = text
    return json.dumps(found, ensure_ascii=False)


def _is_id(data: bytes, size: int) -> bool:
    return len(data) == size and any(data)


def _cut(text: str, longest: int) -> str:
    return text.replace("\0", "")[:longest]
