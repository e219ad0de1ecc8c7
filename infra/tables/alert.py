"""Alerts, and the outbox in which their messages wait for the broker and for receivers."""

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Index, Integer, Table, Text

from infra.tables.base import metadata, moment

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False, unique=True),  # what people call it
    Column("alert_type", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("issue", Text),  # JSON: what a maintenance alert is about
    Column("text", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("count", Integer, nullable=False, server_default="1"),
    Column("escalations", Integer, nullable=False, server_default="0"),
    moment("raised_at"),
    moment("last_seen"),
    moment("owner_since"),
    moment("acknowledged_at", nullable=True),
    Column("acknowledged_by", Text),
    Column("acknowledged_note", Text),
    moment("resolved_at", nullable=True),
    Column("resolved_by", Text),
    Column("resolved_note", Text),
    # The numbers of the ledger entries that say so.
    Column("raised_entry", BigInteger),
    Column("acknowledged_entry", BigInteger),
    Column("resolved_entry", BigInteger),
    Index("alerts_open_cause", "cause", unique=True, postgresql_where="state <> 'resolved'"),
    Index("alerts_unacknowledged", "owner_since", postgresql_where="state = 'raised'"),
    Index("alerts_subject", "subject"),
)

alert_messages = Table(
    "alert_messages",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("alert_id", Text, ForeignKey(alerts.c.alert_id), nullable=False),
    Column("event", Text, nullable=False),
    Column("owner", Text, nullable=False),
    moment("occurred_at"),
    Column("report", Text),  # JSON: the maintenance alert that repeats one which is open
    moment("published_at", nullable=True),  # null until the broker has it
    moment("routed_at", nullable=True),  # null until its deliveries are planned
    Index("alert_messages_alert", "alert_id"),
    Index("alert_messages_unpublished", "occurred_at", postgresql_where="published_at IS NULL"),
    Index("alert_messages_unrouted", "occurred_at", postgresql_where="routed_at IS NULL"),
)

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("message_id", Text, ForeignKey(alert_messages.c.message_id), primary_key=True),
    Column("receiver", Text, primary_key=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
    moment("next_attempt_at", nullable=True),  # null: it arrived, or it was given up
    moment("delivered_at", nullable=True),
    Column("error", Text),
    Index("alert_deliveries_due", "receiver", "next_attempt_at", postgresql_where="next_attempt_at IS NOT NULL"),
)
