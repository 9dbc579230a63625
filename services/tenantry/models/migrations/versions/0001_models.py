"""Models, policies, credentials, and the tables every service has."""

import sqlalchemy as sa
from alembic import op

from tenantry.kit import changes, tenants

revision = "0001"
down_revision = None


def upgrade() -> None:
    changes.create_tables(op.get_bind())
    tenants.create_tables(op.get_bind())
    op.create_table(
        "models",
        sa.Column("tenant", sa.Text, primary_key=True),  # "" for all tenants
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("provider_model", sa.Text, nullable=False),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("input_price_micros", sa.BigInteger, nullable=False),
        sa.Column("output_price_micros", sa.BigInteger, nullable=False),
        sa.Column("max_output_tokens", sa.Integer, nullable=False),
        sa.Column("by_operator", sa.Boolean, nullable=False),
    )
    op.create_index("models_by_id", "models", ["model"])
    op.create_table(
        "policies",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("policy", sa.Text, nullable=False),  # JSON
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "credentials",
        sa.Column("tenant", sa.Text, primary_key=True),  # "" for all tenants without one of their own
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("base_url", sa.Text, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
