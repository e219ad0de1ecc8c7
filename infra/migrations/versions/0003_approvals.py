"""Approvals, the one that a PO waits for, and who did what."""

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("approval_id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("request_type", "subject", "requested_by")),
        sa.Column("on_behalf_of", sa.Text),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("summary", "changes", "reason", "content_hash", "permission", "owner", "status")
        ),
        *(sa.Column(name, sa.Text) for name in ("wakes", "decided_by", "decided_role", "note")),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
    )
    op.create_index("approvals_open", "approvals", ["opened_at"], postgresql_where="status = 'open'")
    op.create_index("ledger_entries_user", "ledger_entries", ["user_id", "seq"])
    op.add_column("client_pos", sa.Column("pending_approval", sa.Text))
    bind = op.get_bind()
    role = bind.dialect.identifier_preparer.quote_identifier(context.config.attributes["writer"])
    bind.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE ON approvals TO {role}")
