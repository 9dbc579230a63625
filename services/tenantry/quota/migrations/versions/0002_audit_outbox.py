"""What administrators changed, on its way to the audit log."""

from alembic import op

from tenantry.kit import audit_outbox

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    audit_outbox.create_tables(op.get_bind())
