"""Maintenance contracts and where they are deployed, the equipment register, alerts and reviews, reverse traces."""

import sqlalchemy as sa
from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CHANGING = (
    *("maintenance_contracts", "maintenance_deployments", "maintenance_reviews"),
    *("equipment", "traces", "traced_results"),
)
KEPT_AS_THEY_ARE = ("equipment_events", "calibrations", "maintenance_alerts", "vault_amendments")


def upgrade() -> None:
    op.add_column("test_results", sa.Column("flags", sa.Text))
    op.add_column("alerts", sa.Column("issue", sa.Text))
    op.add_column("alert_messages", sa.Column("report", sa.Text))
    _create_contracts()
    _create_equipment()
    _create_reviews()
    _create_traces()
    bind = op.get_bind()
    role = bind.dialect.identifier_preparer.quote_identifier(context.config.attributes["writer"])
    bind.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(CHANGING)} TO {role}")
    bind.exec_driver_sql(f"GRANT SELECT, INSERT ON {', '.join(KEPT_AS_THEY_ARE)} TO {role}")


def _texts(*names: str, nullable: bool = False) -> "list[sa.Column[str]]":
    return [sa.Column(name, sa.Text, nullable=nullable) for name in names]


def _moments(*names: str, nullable: bool = False) -> "list[sa.Column[object]]":
    return [sa.Column(name, sa.DateTime(timezone=True), nullable=nullable) for name in names]


def _days(*names: str, nullable: bool = False) -> "list[sa.Column[object]]":
    return [sa.Column(name, sa.Date, nullable=nullable) for name in names]


def _create_contracts() -> None:
    op.create_table(
        "maintenance_contracts",
        sa.Column("contract_id", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        *_texts("station_type", "title", "document", "document_hash", "status"),
        *_texts("parent_version", "changes", "faults", nullable=True),
        *_texts("file_hash", "pending_approval", "publish_fault", "retirement_reason", nullable=True),
        sa.Column("whole_type", sa.Boolean),
        *_texts("created_by"),
        *_moments("created_at"),
        *_moments("validated_at", "deployed_at", "active_at", "deprecated_at", "archived_at", nullable=True),
        *_moments("updated_at"),
    )
    op.create_index("maintenance_contracts_status", "maintenance_contracts", ["status", "station_type"])
    op.create_table(
        "maintenance_deployments",
        sa.Column("contract_id", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("node_id", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        *_texts("status"),
        *_moments("opened_at"),
        *_moments("acknowledged_at", "ended_at", nullable=True),
    )
    op.create_index("maintenance_deployments_node", "maintenance_deployments", ["node_id", "status"])


def _create_equipment() -> None:
    op.create_table(
        "equipment",
        sa.Column("equipment_id", sa.Text, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("at_node_since", sa.BigInteger, nullable=False),
        *_texts("equipment_type", "description", "node_id", "home_node"),
        *_texts("work_center", nullable=True),
        sa.Column("calibration_interval_days", sa.Integer),
        sa.Column("warning_days", sa.Integer, nullable=False),
        *_texts("out_of_service", nullable=True),
        *_days("calibration_scheduled_on", nullable=True),
        *_moments("registered_at", "updated_at"),
    )
    op.create_index("equipment_node", "equipment", ["node_id", "equipment_type"])
    op.create_index("equipment_revision", "equipment", ["revision"])
    op.create_table(
        "equipment_events",
        sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event", sa.Text, primary_key=True),
        *_texts("equipment_id", "node_id"),
        *_texts("work_center", "reason", nullable=True),
        *_texts("user_id"),
        *_moments("occurred_at"),
    )
    op.create_index("equipment_events_equipment", "equipment_events", ["equipment_id", "entry"])
    op.create_table(
        "calibrations",
        sa.Column("equipment_id", sa.Text, primary_key=True),
        sa.Column("certificate_number", sa.Text, primary_key=True),
        *_days("calibrated_on"),
        *_days("due_on", nullable=True),
        *_texts("result"),
        sa.Column("found_out_of_tolerance", sa.Boolean, nullable=False),
        *_texts("corrects", nullable=True),
        *_texts("calibration", "node_id", "recorded_by"),
        sa.Column("entry", sa.BigInteger, nullable=False),
        *_moments("recorded_at"),
    )
    op.create_index("calibrations_newest", "calibrations", ["equipment_id", "calibrated_on", "recorded_at", "entry"])


def _create_reviews() -> None:
    op.create_table(
        "maintenance_alerts",
        sa.Column("alert_id", sa.Text, primary_key=True),
        *_texts("contract_id", "issue_type", "equipment_id", "equipment_type", "node_id", "data"),
        *_moments("occurred_at", "received_at"),
    )
    op.create_index("maintenance_alerts_contract", "maintenance_alerts", ["contract_id", "issue_type", "occurred_at"])
    op.create_table(
        "maintenance_reviews",
        sa.Column("review_id", sa.Text, primary_key=True),
        *_texts("review_type", "contract_id", "version", "issue_type", "alert_ids", "node_ids"),
        *_texts("proposed", "approval_id", "status"),
        *_texts("decided_by", "note", "draft_version", nullable=True),
        *_moments("opened_at"),
        *_moments("ended_at", nullable=True),
    )
    op.create_index("maintenance_reviews_contract", "maintenance_reviews", ["contract_id", "opened_at"])


def _create_traces() -> None:
    op.create_table(
        "traces",
        sa.Column("trace_id", sa.Text, primary_key=True),
        *_texts("equipment_id", "certificate_number"),
        *_days("calibrated_on"),
        *_days("since", nullable=True),
        *_moments("found_at", "opened_at"),
        *_moments("searched_at", "closed_at", nullable=True),
    )
    op.create_index("traces_equipment", "traces", ["equipment_id"])
    op.create_table(
        "traced_results",
        sa.Column("trace_id", sa.Text, sa.ForeignKey("traces.trace_id"), primary_key=True),
        sa.Column("smart_contract_id", sa.Text, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("test_id", sa.Text, primary_key=True),
        *_texts("clientpo_id", "node_id", "verdict", "content_hash"),
        *_texts("disposition", "decided_by", "decided_role", "reason", nullable=True),
        sa.Column("decided_entry", sa.BigInteger),
        *_moments("submitted_at"),
        *_moments("decided_at", nullable=True),
    )
    op.create_index("traced_results_order", "traced_results", ["trace_id", "clientpo_id"])
    op.create_table(
        "vault_amendments",
        sa.Column("smart_contract_id", sa.Text, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("test_id", sa.Text, primary_key=True),
        sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
        *_texts("amendment", "reason", "trace_id", "decided_by"),
        *_moments("decided_at"),
    )
