"""Keys that are rotated, restricted to networks and known by their last use; OIDC issuers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("networks", sa.Text, nullable=False, server_default="[]"))
    op.add_column("api_keys", sa.Column("last_used_ns", sa.BigInteger))
    op.add_column("api_keys", sa.Column("replaced_by", sa.Text, nullable=False, server_default=""))
    op.create_index("api_keys_by_end", "api_keys", ["expires_ns"])
    op.create_table(
        "issuers",
        # Follows from the URL, so that a URL has one row whoever registers it.
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("narrowed", sa.Boolean, nullable=False),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("collections", sa.Text, nullable=False),
        sa.Column("networks", sa.Text, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("removed_ns", sa.BigInteger),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.create_index("issuers_of_owner", "issuers", ["tenant", "organisation", "id"])
