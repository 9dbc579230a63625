"""What a model's input costs that its provider reads from its own cache."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("models", sa.Column("cached_input_price_micros", sa.BigInteger, nullable=False, server_default="0"))
