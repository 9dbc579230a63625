"""Audit: what other services have to say, how often, once; and the bound of refusals a minute."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("service", sa.Text, nullable=False, server_default=""),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("count", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column("record", sa.Text),
    ):
        op.add_column("audit_events", column)
    op.create_index("audit_events_by_record", "audit_events", ["record"], unique=True)
    for column in (
        sa.Column("minute", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
        sa.Column("others", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("audit_logs", column)
