"""Prompts, their revisions, and the tables every service has."""

import sqlalchemy as sa
from alembic import op

from tenantry.kit import changes, tenants

revision = "0001"
down_revision = None


def upgrade() -> None:
    changes.create_tables(op.get_bind())
    tenants.create_tables(op.get_bind())
    op.create_table(
        "prompts",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("prompt", sa.Text, primary_key=True),
        sa.Column("production_revision", sa.Integer, nullable=False),
        sa.Column("latest_revision", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
    )
    op.create_table(
        "revisions",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("prompt", sa.Text, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("system", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("output_schema", sa.Text, nullable=False),
        sa.Column("max_output_tokens", sa.Integer, nullable=False),
        sa.Column("temperature", sa.Float),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
    )
