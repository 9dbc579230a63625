"""Tenants' shards, their documents, and the writes that are under way."""

import sqlalchemy as sa
from alembic import op

from tenantry.kit import claims

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    claims.create_tables(op.get_bind())
    op.create_table(
        "shards",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "documents",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("collection", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("passages", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("updated_ns", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.Text, nullable=False),
    )
    op.create_table(
        "writes",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("collection", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, primary_key=True),
    )
