"""SmartClientPOs."""

from sqlalchemy import Column, Index, Integer, SmallInteger, Table, Text

from infra.tables.base import metadata, moment

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
    moment("due_date", nullable=True),
    moment("expected_arrival", nullable=True),
    Column("arrival_location", Text),
    Column("sequence_number", Integer, nullable=False),
    Column("target_node", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("hold_reason", Text),
    Column("release_error", Text),
    Column("receipt_hash", Text),
    Column("pending_approval", Text),
    Column("routed_from", Text),  # the package of the contract before it, where a chain brought it
    moment("staged_timestamp"),
    moment("arrival_timestamp", nullable=True),
    moment("release_timestamp", nullable=True),
    moment("updated_at"),
    Index("client_pos_status", "status", "priority", "staged_timestamp"),
    Index("client_pos_order", "clientpo_id"),
    Index("client_pos_part", "part_id"),
)
