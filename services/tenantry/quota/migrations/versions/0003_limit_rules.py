"""Limits of each measure, rules for keys, end users and models, and each tenant's time zone and weight."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NEW = (
    "input_tokens_per_minute",
    "input_token_burst",
    "output_tokens_per_minute",
    "output_token_burst",
    "tokens_per_day",
    "tokens_per_month",
    "cost_micros_per_day",
    "cost_micros_per_month",
)
_OLD = ("requests_per_minute", "request_burst", "tokens_per_minute", "token_burst", "concurrent_requests")


def upgrade() -> None:
    for name in _NEW:
        op.add_column("overrides", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("overrides", sa.Column("time_zone", sa.Text, nullable=False, server_default="UTC"))
    op.add_column("overrides", sa.Column("queue_weight", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "limit_rules",
        sa.Column("organisation", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("end_user", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in (*_OLD, *_NEW)),
    )
