"""The ledger, the rows beside it, and the role that writes both."""

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LEDGER = ("ledger_entries", "ledger_checkpoints")
ROWS = ("client_pos", "alerts")


def upgrade() -> None:
    _create_ledger()
    _create_rows()
    _refuse_changes()
    _create_writer(context.config.attributes["writer"], context.config.attributes["writer_password"])


def _moment(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _create_ledger() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("idempotency_key", sa.Text, nullable=False, unique=True),
        sa.Column("action_type", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("smart_id", sa.Text, nullable=False),
        _moment("occurred_at"),
        _moment("recorded_at"),
    )
    op.create_index("ledger_entries_target", "ledger_entries", ["target", "seq"])
    op.create_index("ledger_entries_action", "ledger_entries", ["action", "recorded_at"])
    op.create_table(
        "ledger_checkpoints",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        _moment("created_at"),
    )


def _create_rows() -> None:
    op.create_table(
        "client_pos",
        sa.Column("smart_contract_id", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_hash", sa.Text, nullable=False),
        sa.Column("staging_id", sa.Text, nullable=False),
        sa.Column("workflow_id", sa.Text, nullable=False),
        sa.Column("clientpo_id", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("part_id", sa.Text),
        sa.Column("part_number", sa.Text),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("arrived", sa.Integer, nullable=False, server_default="0"),
        sa.Column("accepted_quantity", sa.Integer),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        _moment("due_date", nullable=True),
        _moment("expected_arrival", nullable=True),
        sa.Column("arrival_location", sa.Text),
        sa.Column("sequence_number", sa.Integer, nullable=False),
        sa.Column("target_node", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("hold_reason", sa.Text),
        sa.Column("release_error", sa.Text),
        sa.Column("receipt_hash", sa.Text),
        _moment("staged_timestamp"),
        _moment("arrival_timestamp", nullable=True),
        _moment("release_timestamp", nullable=True),
        _moment("updated_at"),
    )
    op.create_index("client_pos_status", "client_pos", ["status", "priority", "staged_timestamp"])
    op.create_index("client_pos_order", "client_pos", ["clientpo_id"])
    op.create_index("client_pos_part", "client_pos", ["part_id"])
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.Text, primary_key=True),
        sa.Column("alert_type", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        _moment("raised_at"),
        _moment("published_at", nullable=True),
    )
    op.create_index("alerts_outbox", "alerts", ["raised_at"], postgresql_where="published_at IS NULL")


def _refuse_changes() -> None:
    """Row triggers do not fire on TRUNCATE: it takes a trigger of its own."""
    op.execute(
        """
        CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is refused: % only grows', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege';
        END $$
        """
    )
    for table in LEDGER:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()"
        )


def _create_writer(name: str, password: str | None) -> None:
    """Roles belong to the cluster: another database's migration may create the same one at this moment."""
    bind = op.get_bind()
    role = bind.dialect.identifier_preparer.quote_identifier(name)
    if bind.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}) is None:
        create = "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', CAST(:name AS text), CAST(:password AS text))"
        statement = bind.scalar(sa.text(create), {"name": name, "password": password})
        bind.exec_driver_sql(
            f"DO $create$ BEGIN {statement}; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $create$"
        )
    bind.exec_driver_sql(f"GRANT USAGE ON SCHEMA public TO {role}")
    bind.exec_driver_sql(f"GRANT SELECT, INSERT ON {', '.join(LEDGER)} TO {role}")
    bind.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(ROWS)} TO {role}")
