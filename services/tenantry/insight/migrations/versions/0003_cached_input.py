"""How much of its input a request's provider read from its own cache."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for table in ("entries", "superseded"):
        op.add_column(table, sa.Column("cached_input_tokens", sa.BigInteger, nullable=False, server_default="0"))
