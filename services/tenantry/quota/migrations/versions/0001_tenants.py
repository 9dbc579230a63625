"""Tenants, their own limits, and the change log."""

import sqlalchemy as sa
from alembic import op

from tenantry.kit import changes, tenants

revision = "0001"
down_revision = None


def upgrade() -> None:
    changes.create_tables(op.get_bind())
    tenants.create_tables(op.get_bind())
    op.create_table(
        "overrides",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger, nullable=False),
        sa.Column("request_burst", sa.BigInteger, nullable=False),
        sa.Column("tokens_per_minute", sa.BigInteger, nullable=False),
        sa.Column("token_burst", sa.BigInteger, nullable=False),
        sa.Column("concurrent_requests", sa.BigInteger, nullable=False),
    )
