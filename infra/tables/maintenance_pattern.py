"""Alerts that count for a contract, and the reviews that they opened."""

from sqlalchemy import Column, Index, Table, Text

from infra.tables.base import metadata, moment

maintenance_alerts = Table(
    "maintenance_alerts",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("contract_id", Text, nullable=False),
    Column("issue_type", Text, nullable=False),
    Column("equipment_id", Text, nullable=False),
    Column("equipment_type", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("data", Text, nullable=False),  # JSON
    moment("occurred_at"),
    moment("received_at"),
    Index("maintenance_alerts_contract", "contract_id", "issue_type", "occurred_at"),
)

maintenance_reviews = Table(
    "maintenance_reviews",
    metadata,
    Column("review_id", Text, primary_key=True),
    Column("review_type", Text, nullable=False),
    Column("contract_id", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("issue_type", Text, nullable=False),
    Column("alert_ids", Text, nullable=False),  # JSON
    Column("node_ids", Text, nullable=False),  # JSON
    Column("proposed", Text, nullable=False),  # JSON: changes, with the data behind them
    Column("approval_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("decided_by", Text),
    Column("note", Text),
    Column("draft_version", Text),
    moment("opened_at"),
    moment("ended_at", nullable=True),
    Index("maintenance_reviews_contract", "contract_id", "opened_at"),
)
