"""Settlements that wait until the books are back."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "late_settlements",
        sa.Column("reservation", sa.Text, primary_key=True),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("put_at", sa.Double, nullable=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
    )
