"""Alerts have a cause, an owner and a life; what others are told of it, and who was reached."""

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _give_alerts_a_life()
    _create_outbox()
    _keep_what_is_unpublished()
    op.drop_index("alerts_outbox", "alerts")
    op.drop_column("alerts", "published_at")
    writer = op.get_bind().dialect.identifier_preparer.quote_identifier(context.config.attributes["writer"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON alert_messages, alert_deliveries TO {writer}")


def _moment(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _give_alerts_a_life() -> None:
    """What was raised before counts as resolved: people were told of it, and nothing will say that it is over.

    Except for what lasts and whose end will be said: the newest of each cause stays open, under the name by which its
    workflow will resolve it.
    """
    for column in (
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("state", sa.Text),
        sa.Column("count", sa.Integer, nullable=False, server_default="1"),
        sa.Column("escalations", sa.Integer, nullable=False, server_default="0"),
        _moment("last_seen", nullable=True),
        _moment("owner_since", nullable=True),
        _moment("acknowledged_at", nullable=True),
        sa.Column("acknowledged_by", sa.Text),
        sa.Column("acknowledged_note", sa.Text),
        _moment("resolved_at", nullable=True),
        sa.Column("resolved_by", sa.Text),
        sa.Column("resolved_note", sa.Text),
        sa.Column("raised_entry", sa.BigInteger),
        sa.Column("acknowledged_entry", sa.BigInteger),
        sa.Column("resolved_entry", sa.BigInteger),
    ):
        op.add_column("alerts", column)
    op.execute(
        """
        UPDATE alerts SET cause = concat_ws(':', alert_type, subject), owner = 'supervisor', state = 'resolved',
            last_seen = raised_at, owner_since = raised_at, resolved_at = now(), resolved_by = 'system',
            resolved_note = 'raised before alerts were followed up',
            raised_entry = (SELECT seq FROM ledger_entries WHERE idempotency_key = alert_id)
        """
    )
    op.execute(
        """
        UPDATE alerts SET cause = concat_ws(':', alert_type, subject, CASE alert_type
            WHEN 'release_failed' THEN 'late'
            ELSE (SELECT entry::jsonb #>> '{metadata,broadcast_id}' FROM ledger_entries WHERE seq = raised_entry)
        END)
        WHERE alert_type IN ('release_failed', 'arrival_unclaimed')
        """
    )
    op.execute(
        """
        UPDATE alerts SET state = 'raised', resolved_at = NULL, resolved_by = NULL, resolved_note = NULL,
            owner_since = now()
        WHERE alert_id IN (
            SELECT DISTINCT ON (cause) alert_id FROM alerts
            WHERE alert_type = 'arrival_unclaimed' OR alert_type = 'release_failed' AND EXISTS (
                SELECT FROM client_pos
                WHERE smart_contract_id = subject AND status NOT IN ('released', 'cancelled')
            )
            ORDER BY cause, raised_at DESC, alert_id
        )
        """
    )
    for name in ("cause", "owner", "state", "last_seen", "owner_since"):
        op.alter_column("alerts", name, nullable=False)
    op.create_unique_constraint("alerts_number_key", "alerts", ["number"])
    op.create_index("alerts_open_cause", "alerts", ["cause"], unique=True, postgresql_where="state <> 'resolved'")
    op.create_index("alerts_unacknowledged", "alerts", ["owner_since"], postgresql_where="state = 'raised'")
    op.create_index("alerts_subject", "alerts", ["subject"])


def _create_outbox() -> None:
    op.create_table(
        "alert_messages",
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("alert_id", sa.Text, sa.ForeignKey("alerts.alert_id"), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        _moment("occurred_at"),
        _moment("published_at", nullable=True),
        _moment("routed_at", nullable=True),
    )
    op.create_index("alert_messages_alert", "alert_messages", ["alert_id"])
    for name in ("published", "routed"):
        op.create_index(
            f"alert_messages_un{name}", "alert_messages", ["occurred_at"], postgresql_where=f"{name}_at IS NULL"
        )
    op.create_table(
        "alert_deliveries",
        sa.Column("message_id", sa.Text, sa.ForeignKey("alert_messages.message_id"), primary_key=True),
        sa.Column("receiver", sa.Text, primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        _moment("next_attempt_at", nullable=True),
        _moment("delivered_at", nullable=True),
        sa.Column("error", sa.Text),
    )
    op.create_index(
        "alert_deliveries_due",
        "alert_deliveries",
        ["receiver", "next_attempt_at"],
        postgresql_where="next_attempt_at IS NOT NULL",
    )


def _keep_what_is_unpublished() -> None:
    op.execute(
        """
        INSERT INTO alert_messages (message_id, alert_id, event, owner, occurred_at)
        SELECT concat_ws(':', number, 'raised'), alert_id, 'raised', owner, raised_at
        FROM alerts WHERE published_at IS NULL AND state = 'raised'
        """
    )
