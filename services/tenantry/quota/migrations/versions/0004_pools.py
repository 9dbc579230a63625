"""Pools as operators set them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "pools",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("capacity", sa.BigInteger, nullable=False),
        sa.Column("input_weight", sa.BigInteger, nullable=False),
        sa.Column("output_weight", sa.BigInteger, nullable=False),
        sa.Column("most_waiting", sa.BigInteger, nullable=False),
        sa.Column("adaptive", sa.Boolean, nullable=False),
    )
