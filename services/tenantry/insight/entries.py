"""The ledger's values, and the rules that make any settled usage fit to be kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tenantry.kit.owner import Tenant
from tenantry.kit.usage import Usage

# Outcomes as common/v1/usage.proto numbers them: from here on the request did not end OK.
FIRST_FAILURE = 2
MOST_GROUPS = 1000
_LONGEST_TEXT = 256
# A sum of nine million of these still fits the 64 bits of a column and of the contract.
_LARGEST = 10**12
_LONGEST_NS = 10**16
_LATEST_US = 2**57  # in the year 6537; a thousandfold of it still fits
_GROWTH = math.log(1.02)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger; `reservation` is its key. `estimated`: no true settlement came (yet)."""

    reservation: str
    owner: Tenant
    key_id: str
    end_user: str
    estimated: bool
    settled_us: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in one bucket of quota's outbox."""

    bucket: int
    epoch: str
    position: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries of one bucket in order, and the cursor that acknowledges them."""

    entries: tuple[Entry, ...]
    cursor: Cursor


class Grouping(StrEnum):
    """By what entries are summed."""

    MODEL = "model"
    END_USER = "end_user"
    DAY = "day"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Sums:
    """Entries that are alike, summed. `group` is empty for the total; latencies are those of true settlements."""

    group: str = ""
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    cache_hits: int = 0
    failures: int = 0
    estimated: int = 0
    latency_p50_ms: float = 0.0
    latency_p95_ms: float = 0.0


_ADDED = ("requests", "input_tokens", "output_tokens", "cost_micros", "cache_hits", "failures", "estimated")


def rest_of(total: Sums, groups: Sequence[Sums]) -> Sums | None:
    """What none of the groups has of the total; None when there is no such request."""
    left = {name: getattr(total, name) - sum(getattr(group, name) for group in groups) for name in _ADDED}
    return Sums(**left) if left["requests"] > 0 else None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of entries ended: the next has older ones."""

    settled_us: int
    reservation: str


def fitting(entry: Entry) -> Entry:
    """The entry, cut to what every database keeps: one that is odd must not hold up all that come after it."""
    usage = entry.usage
    return replace(
        entry,
        key_id=_text(entry.key_id),
        end_user=_text(entry.end_user),
        settled_us=_within(entry.settled_us, _LATEST_US),
        usage=replace(
            usage,
            input_tokens=_within(usage.input_tokens),
            output_tokens=_within(usage.output_tokens),
            cost_micros=_within(usage.cost_micros),
            provider=_text(usage.provider),
            model=_text(usage.model),
            model_revision=_text(usage.model_revision),
            latency_ns=_within(usage.latency_ns, _LONGEST_NS),
            request_id=_text(usage.request_id),
            prompt=_text(usage.prompt),
            first_token_ns=None if usage.first_token_ns is None else _within(usage.first_token_ns, _LONGEST_NS),
            cached_input_tokens=_within(usage.cached_input_tokens),
        ),
    )


def latency_bucket(latency_ns: int) -> int:
    """The number of the bucket that a latency falls into: bucket b holds (1.02^(b-1), 1.02^b] microseconds, 0 up to one.

    Buckets that grow by a constant factor give any percentile to within 1 % of its value, and can be counted in SQL
    (DDSketch, Masson et al., VLDB 2019).
    """
    return max(0, math.ceil(math.log(max(latency_ns, 1) / 1000) / _GROWTH))


def bucket_ms(bucket: int) -> float:
    """The latency in milliseconds that stands for a bucket: at most 1 % from each that fell into it, 0 for the first."""
    if bucket == 0:
        return 0.0
    top = math.exp(bucket * _GROWTH)
    return 2 * top / (1 + math.exp(_GROWTH)) / 1000


def _text(text: str) -> str:
    return text.replace("\0", "")[:_LONGEST_TEXT]


def _within(number: int, most: int = _LARGEST) -> int:
    return min(max(number, 0), most)
