"""How asks and settlements are written in the books: JSON lists with a version, so that a later version can tell them
apart."""

import json
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Any

from tenantry.kit.errors import StoreFailed
from tenantry.kit.owner import Tenant
from tenantry.kit.usage import Usage
from tenantry.quota.entries import Ask, Calendar, Demand, Limits, Settled

# 1 had no mark of estimates.
_VERSION = 2
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_usage = attrgetter(*(field.name for field in fields(Usage)))


def write_ask(ask: Ask) -> bytes:
    """The ask as it is kept with its hold and nonce."""
    owner = ask.owner
    parts = (ask.reservation, ask.nonce, ask.key_id, ask.end_user, ask.model, ask.request_id)
    amounts = (ask.input_tokens, ask.max_output_tokens, ask.input_price, ask.output_price)
    return _write(owner.organisation, owner.id, *parts, *amounts)


def read_ask(text: bytes) -> Ask:
    """What `write_ask` wrote."""
    _, organisation, tenant, *parts = _read(text)
    return Ask(Tenant(organisation, tenant), *parts)


def write_demand(demand: Demand) -> str:
    """What applies to a request, as the scripts read it: both calendars, empty where nothing counts in them, and each subject:
    its counters, whose calendar, its crowd, the others of the crowd, and its limits."""
    dated = any(any(subject.limits.budgets) for subject in demand.subjects)
    calendars = f"{_calendar(demand.local)},{_calendar(demand.utc)}" if dated else "[],[]"
    subjects = ",".join(
        f"[{_encode(subject.field)},{1 if subject.local else 2},{_encode(subject.crowd)},{_encode(subject.others)},"
        f"{_limits(subject.limits)}]"
        for subject in demand.subjects
    )
    return f"[{calendars},[{subjects}]]"


@lru_cache(maxsize=1_024)
def _calendar(calendar: Calendar) -> str:
    return _encode((calendar.days, calendar.months))


@lru_cache(maxsize=16_384)
def _limits(limits: Limits) -> str:
    rates = [part for rate in limits.rates for part in rate]
    return _encode((*rates, *limits.budgets, limits.concurrent_requests))


def write_settled(settled: Settled) -> bytes:
    """The settlement as it is kept in the outbox, without its time, which is the books'."""
    owner = settled.owner
    parts = (settled.reservation, owner.organisation, owner.id, settled.key_id, settled.end_user, settled.estimated)
    return _write(*parts, *_usage(settled.usage))


def read_settled(text: bytes, settled_us: int) -> Settled:
    """What `write_settled` wrote."""
    version, reservation, organisation, tenant, key_id, end_user, *rest = _read(text)
    estimated, *usage = rest if version > 1 else (False, *rest)
    return Settled(reservation, Tenant(organisation, tenant), key_id, end_user, estimated, settled_us, Usage(*usage))


def _write(*parts: Any) -> bytes:
    return _encode((_VERSION, *parts)).encode()


def _read(text: bytes) -> list[Any]:
    version, *parts = json.loads(text)
    if not 1 <= version <= _VERSION:
        raise StoreFailed(
            f"the books hold an entry of version {version}, and this version of Tenantry knows {_VERSION}"
        )
    return [version, *parts]
