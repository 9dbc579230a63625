"""Values that both contracts have, to and from protobuf."""

import re

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tenantry.api.common.v1 import usage_pb2
from tenantry.insight.entries import Usage
from tenantry.kit import paging
from tenantry.kit.errors import InvalidArgument

_NS = 1_000_000_000
_ID = re.compile(r"[\x21-\x7e]{1,256}")


def position_of(token: str) -> tuple[int, str] | None:
    """The time and id where the page before ended; None for the first page. Only what a database can compare."""
    found = paging.position_of(token, [int, str])
    if found is None:
        return None
    time, id = int(found[0]), str(found[1])
    if abs(time) >= 2**63 or _ID.fullmatch(id) is None:
        raise InvalidArgument("page.token", "is not a token that this list gave")
    return time, id


def time_of(at_ns: int) -> Timestamp:
    return Timestamp(seconds=at_ns // _NS, nanos=at_ns % _NS)


def duration_of(ns: int) -> Duration:
    return Duration(seconds=ns // _NS, nanos=ns % _NS)


def usage_of(usage: usage_pb2.Usage) -> Usage:
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cost_micros,
        usage.provider,
        usage.model,
        usage.model_revision,
        _ns(usage.latency),
        int(usage.outcome),
        usage.cache_hit,
        usage.request_id,
        usage.prompt,
        usage.prompt_revision,
        _ns(usage.first_token_latency) if usage.HasField("first_token_latency") else None,
    )


def usage_to(usage: Usage) -> usage_pb2.Usage:
    return usage_pb2.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=usage.cost_micros,
        provider=usage.provider,
        model=usage.model,
        model_revision=usage.model_revision,
        latency=duration_of(usage.latency_ns),
        outcome=usage_pb2.Outcome.ValueType(usage.outcome),
        cache_hit=usage.cache_hit,
        request_id=usage.request_id,
        prompt=usage.prompt,
        prompt_revision=usage.prompt_revision,
        first_token_latency=None if usage.first_token_ns is None else duration_of(usage.first_token_ns),
    )


def _ns(duration: Duration) -> int:
    return duration.seconds * _NS + duration.nanos
