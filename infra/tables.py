"""Every table of the database, named in one place; the migrations create exactly these (a test compares)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
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
    Column("flags", Text),  # what people must know of them, such as a calibration that expired meanwhile
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
    Column("issue", Text),  # JSON: what a maintenance alert is about
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
    Column("report", Text),  # JSON: the maintenance alert that repeats one which is open
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

maintenance_contracts = Table(
    "maintenance_contracts",
    metadata,
    Column("contract_id", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("station_type", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("document", Text, nullable=False),  # JSON
    Column("document_hash", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("parent_version", Text),
    Column("changes", Text),  # JSON: what this version changes, and the data behind it
    Column("faults", Text),  # JSON: what the last validation found
    Column("file_hash", Text),  # of its file in the policy repository
    Column("pending_approval", Text),
    Column("publish_fault", Text),  # why what is approved is not in the policy repository
    Column("retirement_reason", Text),
    Column("created_by", Text, nullable=False),
    _moment("created_at"),
    _moment("validated_at", nullable=True),
    _moment("deployed_at", nullable=True),
    _moment("active_at", nullable=True),
    _moment("deprecated_at", nullable=True),
    _moment("archived_at", nullable=True),
    _moment("updated_at"),
    Index("maintenance_contracts_status", "status", "station_type"),
)

maintenance_deployments = Table(
    "maintenance_deployments",
    metadata,
    Column("contract_id", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("node_id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),  # of the ledger entry that deployed it
    Column("status", Text, nullable=False),
    _moment("opened_at"),
    _moment("acknowledged_at", nullable=True),
    _moment("ended_at", nullable=True),
    Index("maintenance_deployments_node", "node_id", "status"),
)

equipment = Table(
    "equipment",
    metadata,
    Column("equipment_id", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),  # of its last change: that entry's number and one
    Column("equipment_type", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("node_id", Text, nullable=False),  # where it is now
    Column("at_node_since", BigInteger, nullable=False),  # the revision of the change that brought it there
    Column("home_node", Text, nullable=False),
    Column("work_center", Text),
    Column("calibration_interval_days", Integer),
    Column("warning_days", Integer, nullable=False),
    Column("out_of_service", Text),  # why, while it is
    Column("calibration_scheduled_on", Date),
    _moment("registered_at"),
    _moment("updated_at"),
    Index("equipment_revision", "revision"),
    Index("equipment_node", "node_id", "equipment_type"),
)

equipment_events = Table(
    "equipment_events",
    metadata,
    Column("entry", BigInteger, primary_key=True, autoincrement=False),  # the number of the ledger entry that says so
    Column("event", Text, primary_key=True),
    Column("equipment_id", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("reason", Text),
    Column("user_id", Text, nullable=False),
    _moment("occurred_at"),
    Index("equipment_events_equipment", "equipment_id", "entry"),
)

calibrations = Table(
    "calibrations",
    metadata,
    Column("equipment_id", Text, primary_key=True),
    Column("certificate_number", Text, primary_key=True),
    Column("calibrated_on", Date, nullable=False),
    Column("due_on", Date),
    Column("result", Text, nullable=False),
    Column("found_out_of_tolerance", Boolean, nullable=False),
    Column("corrects", Text),  # the certificate of the same instrument that it stands for
    Column("calibration", Text, nullable=False),  # JSON: the whole record
    Column("node_id", Text, nullable=False),  # where it was recorded
    Column("recorded_by", Text, nullable=False),
    Column("entry", BigInteger, nullable=False),  # the number of the ledger entry that says so
    _moment("recorded_at"),
    Index("calibrations_newest", "equipment_id", "calibrated_on", "entry"),
)

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
    _moment("occurred_at"),
    _moment("received_at"),
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
    _moment("opened_at"),
    _moment("ended_at", nullable=True),
    Index("maintenance_reviews_contract", "contract_id", "opened_at"),
)

traces = Table(
    "traces",
    metadata,
    Column("trace_id", Text, primary_key=True),
    Column("equipment_id", Text, nullable=False),
    Column("certificate_number", Text, nullable=False),
    Column("calibrated_on", Date, nullable=False),
    Column("since", Date),
    _moment("found_at"),
    _moment("opened_at"),
    _moment("searched_at", nullable=True),
    _moment("closed_at", nullable=True),
    Index("traces_equipment", "equipment_id"),
)

traced_results = Table(
    "traced_results",
    metadata,
    Column("trace_id", Text, ForeignKey(traces.c.trace_id), primary_key=True),
    Column("smart_contract_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("test_id", Text, primary_key=True),
    Column("clientpo_id", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("disposition", Text),
    Column("decided_by", Text),
    Column("decided_role", Text),
    Column("reason", Text),
    Column("decided_entry", BigInteger),  # the number of the ledger entry with the proof
    _moment("submitted_at"),
    _moment("decided_at", nullable=True),
    Index("traced_results_order", "trace_id", "clientpo_id"),
    Index("traced_results_contract", "smart_contract_id"),
)

vault_amendments = Table(
    "vault_amendments",
    metadata,
    Column("smart_contract_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("test_id", Text, primary_key=True),
    Column("entry", BigInteger, primary_key=True, autoincrement=False),  # the number of the ledger entry that says so
    Column("amendment", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    _moment("decided_at"),
)
