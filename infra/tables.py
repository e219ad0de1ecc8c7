"""Every table of the database, named in one place; the migrations create exactly these (a test compares)."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()


def _moment(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", Text, nullable=False),  # the exact canonical bytes; the other columns repeat parts of them
    Column("leaf", LargeBinary, nullable=False),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("action_type", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("smart_id", Text, nullable=False),
    _moment("occurred_at"),
    _moment("recorded_at"),
    Index("ledger_entries_target", "target", "seq"),
    Index("ledger_entries_action", "action", "recorded_at"),
    Index("ledger_entries_user", "user_id", "seq"),
)

ledger_checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),  # the signed note (C2SP), kept whole
    _moment("created_at"),
)

client_pos = Table(
    "client_pos",
    metadata,
    Column("smart_contract_id", Text, primary_key=True),
    Column("document", Text, nullable=False),  # JSON, as it was received
    Column("document_hash", Text, nullable=False),
    Column("staging_id", Text, nullable=False),
    Column("workflow_id", Text, nullable=False),
    Column("clientpo_id", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("part_id", Text),
    Column("part_number", Text),
    Column("quantity", Integer, nullable=False),
    Column("arrived", Integer, nullable=False, server_default="0"),
    Column("accepted_quantity", Integer),
    Column("priority", SmallInteger, nullable=False),
    _moment("due_date", nullable=True),
    _moment("expected_arrival", nullable=True),
    Column("arrival_location", Text),
    Column("sequence_number", Integer, nullable=False),
    Column("target_node", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("hold_reason", Text),
    Column("release_error", Text),
    Column("receipt_hash", Text),
    Column("pending_approval", Text),
    Column("routed_from", Text),  # the package of the contract before it, where a chain brought it
    _moment("staged_timestamp"),
    _moment("arrival_timestamp", nullable=True),
    _moment("release_timestamp", nullable=True),
    _moment("updated_at"),
    Index("client_pos_status", "status", "priority", "staged_timestamp"),
    Index("client_pos_order", "clientpo_id"),
    Index("client_pos_part", "part_id"),
)

tests = Table(
    "tests",
    metadata,
    Column("smart_contract_id", Text, primary_key=True),
    Column("clientpo_id", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("performer", Text),
    Column("begun", Text),  # JSON: what was frozen when it began
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("missing", Text),
    Column("open_signoffs", Text),
    Column("hold_reason", Text),
    Column("rework_reason", Text),
    Column("package_id", Text),
    _moment("opened_at"),
    _moment("started_at", nullable=True),
    _moment("submitted_at", nullable=True),
    _moment("signed_at", nullable=True),
    _moment("authorized_at", nullable=True),
    _moment("updated_at"),
    Index("tests_status", "status", "opened_at"),
    Index("tests_order", "clientpo_id"),
)

test_results = Table(
    "test_results",
    metadata,
    Column("smart_contract_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("test_id", Text, primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("result", Text, nullable=False),  # JSON
    Column("content_hash", Text, nullable=False),
    Column("submitted_by", Text, nullable=False),
    _moment("submitted_at"),
)

test_signoffs = Table(
    "test_signoffs",
    metadata,
    Column(
        "entry", BigInteger, primary_key=True, autoincrement=False
    ),  # the number of the ledger entry, with its proof
    Column("smart_contract_id", Text, nullable=False),
    Column("test_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("meaning", Text, nullable=False),
    Column("reason", Text),
    Column("content_hash", Text, nullable=False),
    Column("qualification", Text),
    _moment("signed_at"),
    _moment("void_at", nullable=True),
    Index("test_signoffs_test", "smart_contract_id", "test_id"),
)

transfers = Table(
    "transfers",
    metadata,
    Column("package_id", Text, primary_key=True),
    Column("smart_contract_id", Text, nullable=False),
    Column("clientpo_id", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("package", Text, nullable=False),  # JSON, as the Guardian signed it
    Column("content_hash", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("vault_status", Text, nullable=False),
    Column("vault_attempts", Integer, nullable=False, server_default="0"),
    Column("vault_error", Text),
    Column("next_node_status", Text, nullable=False),
    Column("next_node_attempts", Integer, nullable=False, server_default="0"),
    Column("next_node_error", Text),
    Column("business_hub_status", Text, nullable=False),
    Column("business_hub_attempts", Integer, nullable=False, server_default="0"),
    Column("business_hub_error", Text),
    Column("next_station", Text),
    Column("next_contract", Text),
    Column("disposition", Text),
    _moment("signed_at"),  # the last sign-off
    _moment("authorized_at"),
    _moment("opened_at"),
    _moment("received_at", nullable=True),
    _moment("vault_at", nullable=True),
    _moment("next_node_at", nullable=True),
    _moment("ended_at", nullable=True),
    _moment("updated_at"),
    UniqueConstraint("smart_contract_id", "revision", name="transfers_revision"),
    Index("transfers_status", "status", "opened_at"),
    Index("transfers_order", "clientpo_id"),
)

nonconformances = Table(
    "nonconformances",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("package_id", Text, ForeignKey(transfers.c.package_id), nullable=False, unique=True),
    Column("smart_contract_id", Text, nullable=False),
    Column("clientpo_id", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("tests", Text, nullable=False),  # those that were not accepted, for people
    Column("content_hash", Text, nullable=False),  # what a disposition decides on
    Column("disposition", Text),
    Column("decided_by", Text),
    Column("decided_role", Text),
    Column("reason", Text),
    _moment("opened_at"),
    _moment("decided_at", nullable=True),
)

vault_packages = Table(
    "vault_packages",
    metadata,
    Column("package_id", Text, primary_key=True),
    Column("smart_contract_id", Text, nullable=False),
    Column("clientpo_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("replaces", Text),
    Column("verdict", Text, nullable=False),
    Column("body", Text, nullable=False),  # the canonical JSON of what was received
    Column("content_hash", Text, nullable=False),
    Column("entry", BigInteger, nullable=False),  # the number of the ledger entry that says so
    _moment("received_at"),
    UniqueConstraint("smart_contract_id", "revision", name="vault_packages_revision"),
    Index("vault_packages_order", "clientpo_id"),
)

completed_orders = Table(
    "completed_orders",
    metadata,
    Column("package_id", Text, primary_key=True),
    Column("clientpo_id", Text, nullable=False),
    Column("smart_contract_id", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    _moment("received_at"),
    Index("completed_orders_order", "clientpo_id"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("approval_id", Text, primary_key=True),
    Column("request_type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("on_behalf_of", Text),
    Column("summary", Text, nullable=False),  # the difference for people
    Column("changes", Text, nullable=False),  # the same as JSON
    Column("reason", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("permission", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("wakes", Text),  # the workflow that waits for the outcome
    Column("status", Text, nullable=False),
    Column("decided_by", Text),
    Column("decided_role", Text),
    Column("note", Text),
    _moment("opened_at"),
    _moment("expires_at"),
    _moment("ended_at", nullable=True),
    Index("approvals_subject", "subject"),
    Index("approvals_open", "opened_at", postgresql_where="status = 'open'"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False, unique=True),  # what people call it
    Column("alert_type", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("count", Integer, nullable=False, server_default="1"),
    Column("escalations", Integer, nullable=False, server_default="0"),
    _moment("raised_at"),
    _moment("last_seen"),
    _moment("owner_since"),
    _moment("acknowledged_at", nullable=True),
    Column("acknowledged_by", Text),
    Column("acknowledged_note", Text),
    _moment("resolved_at", nullable=True),
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
    _moment("occurred_at"),
    _moment("published_at", nullable=True),  # null until the broker has it
    _moment("routed_at", nullable=True),  # null until its deliveries are planned
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
    _moment("next_attempt_at", nullable=True),  # null: it arrived, or it was given up
    _moment("delivered_at", nullable=True),
    Column("error", Text),
    Index("alert_deliveries_due", "receiver", "next_attempt_at", postgresql_where="next_attempt_at IS NOT NULL"),
)
