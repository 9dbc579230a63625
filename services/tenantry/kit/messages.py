"""Values that several contracts have, to and from protobuf."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tenantry.api.common.v1 import usage_pb2
from tenantry.kit.usage import Usage

_NS = 1_000_000_000


def time_message(at_ns: int) -> Timestamp:
    """A time, given in nanoseconds since 1970."""
    return Timestamp(seconds=at_ns // _NS, nanos=at_ns % _NS)


def duration_message(ns: int) -> Duration:
    """A duration that is not below zero."""
    return Duration(seconds=ns // _NS, nanos=ns % _NS)


def ns_of(duration: Duration) -> int:
    """Nanoseconds."""
    return duration.seconds * _NS + duration.nanos


def usage_of(usage: usage_pb2.Usage) -> Usage:
    """What a request used."""
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cost_micros,
        usage.provider,
        usage.model,
        usage.model_revision,
        ns_of(usage.latency),
        int(usage.outcome),
        usage.cache_hit,
        usage.request_id,
        usage.prompt,
        usage.prompt_revision,
        ns_of(usage.first_token_latency) if usage.HasField("first_token_latency") else None,
        usage.cached_input_tokens,
        usage.counts_estimated,
    )


def usage_message(usage: Usage) -> usage_pb2.Usage:
    """The contract's usage."""
    return usage_pb2.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=usage.cost_micros,
        provider=usage.provider,
        model=usage.model,
        model_revision=usage.model_revision,
        latency=duration_message(usage.latency_ns),
        outcome=usage_pb2.Outcome.ValueType(usage.outcome),
        cache_hit=usage.cache_hit,
        request_id=usage.request_id,
        prompt=usage.prompt,
        prompt_revision=usage.prompt_revision,
        first_token_latency=None if usage.first_token_ns is None else duration_message(usage.first_token_ns),
        cached_input_tokens=usage.cached_input_tokens,
        counts_estimated=usage.counts_estimated,
    )
