"""The tables of the ledger and of traces, as the migrations make them."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, LargeBinary, MetaData, Table, Text

_metadata = MetaData()

ENTRIES = Table(
    "entries",
    _metadata,
    Column("reservation", Text, primary_key=True),
    # the entry's place in its tenant's chain
    Column("number", BigInteger),
    Column("batch", BigInteger),
    Column("hash", LargeBinary),
    Column("organisation", Text),
    Column("tenant", Text),
    Column("key_id", Text),
    Column("end_user", Text),
    Column("estimated", Boolean),
    Column("settled_us", BigInteger),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cost_micros", BigInteger),
    Column("provider", Text),
    Column("model", Text),
    Column("model_revision", Text),
    Column("latency_ns", BigInteger),
    # -1 for an estimated entry, whose latency says nothing
    Column("latency_bucket", Integer),
    Column("outcome", Integer),
    Column("cache_hit", Boolean),
    Column("request_id", Text),
    Column("prompt", Text),
    Column("prompt_revision", Integer),
    Column("first_token_ns", BigInteger),
    Column("cached_input_tokens", BigInteger),
    Column("counts_estimated", Boolean),
)
# Estimates that a true settlement replaced: they stay in the chain, and count no more.
SUPERSEDED = Table("superseded", _metadata, *(Column(column.name, column.type) for column in ENTRIES.c))
DIGESTS = Table(
    "digests",
    _metadata,
    Column("organisation", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("batch", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger),
    Column("entries", Integer),
    Column("digest", LargeBinary),
)
CURSORS = Table(
    "cursors",
    _metadata,
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Text),
    Column("position", Text),
)
SPANS = Table(
    "spans",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("trace_id", Text, primary_key=True),
    Column("span_id", Text, primary_key=True),
    Column("parent_span_id", Text),
    Column("service", Text),
    Column("name", Text),
    Column("start_ns", BigInteger),
    Column("duration_ns", BigInteger),
    Column("failed", Boolean),
    Column("request_id", Text),
    Column("attributes", Text),
)
TRACES = Table(
    "traces",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("trace_id", Text, primary_key=True),
    Column("request_id", Text),
    Column("name", Text),
    # 1 while the span that stands for the trace has a parent: a true root, which has none, takes its place
    Column("is_child", Integer),
    Column("start_ns", BigInteger),
    Column("duration_ns", BigInteger),
    Column("spans", Integer),
    Column("failed", Boolean),
    # Unix seconds by our clock: what a span says of its times can't keep it here longer
    Column("stored_at", Float),
)
