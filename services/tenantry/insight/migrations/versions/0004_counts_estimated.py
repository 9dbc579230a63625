"""Whether a request's tokens are as its provider reported them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for table in ("entries", "superseded"):
        op.add_column(table, sa.Column("counts_estimated", sa.Boolean, nullable=False, server_default=sa.false()))
