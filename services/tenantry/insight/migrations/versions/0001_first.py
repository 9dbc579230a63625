"""The ledger, how far the outbox was read, the traces, and the tables every service has."""

import sqlalchemy as sa
from alembic import op

from tenantry.kit import changes, claims, tenants

revision = "0001"
down_revision = None


def upgrade() -> None:
    changes.create_tables(op.get_bind())
    claims.create_tables(op.get_bind())
    tenants.create_tables(op.get_bind())
    _ledger()
    _traces()


def _ledger() -> None:
    op.create_table(
        "entries",
        sa.Column("reservation", sa.Text, primary_key=True),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("end_user", sa.Text, nullable=False),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("settled_us", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_micros", sa.BigInteger, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("model_revision", sa.Text, nullable=False),
        sa.Column("latency_ns", sa.BigInteger, nullable=False),
        sa.Column("latency_bucket", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Integer, nullable=False),
        sa.Column("cache_hit", sa.Boolean, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("prompt_revision", sa.Integer, nullable=False),
        sa.Column("first_token_ns", sa.BigInteger),
    )
    op.create_index("entries_by_time", "entries", ["tenant", "settled_us", "reservation"])
    op.create_index("entries_by_request", "entries", ["tenant", "request_id"])
    op.create_table(
        "cursors",
        sa.Column("bucket", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("position", sa.Text, nullable=False),
    )


def _traces() -> None:
    op.create_table(
        "spans",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("trace_id", sa.Text, primary_key=True),
        sa.Column("span_id", sa.Text, primary_key=True),
        sa.Column("parent_span_id", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("start_ns", sa.BigInteger, nullable=False),
        sa.Column("duration_ns", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.Boolean, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
    )
    op.create_table(
        "traces",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("trace_id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("is_child", sa.Integer, nullable=False),
        sa.Column("start_ns", sa.BigInteger, nullable=False),
        sa.Column("duration_ns", sa.BigInteger, nullable=False),
        sa.Column("spans", sa.Integer, nullable=False),
        sa.Column("failed", sa.Boolean, nullable=False),
        sa.Column("stored_at", sa.Float, nullable=False),
    )
    op.create_index("traces_by_start", "traces", ["tenant", "start_ns", "trace_id"])
    op.create_index("traces_by_request", "traces", ["tenant", "request_id"])
    op.create_index("traces_by_age", "traces", ["stored_at"])
