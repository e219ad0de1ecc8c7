"""Versions of maintenance contracts, and where they are deployed."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Table, Text

from infra.tables.base import metadata, moment

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
    Column("whole_type", Boolean),  # it went to all nodes of its station type that there were
    Column("created_by", Text, nullable=False),
    moment("created_at"),
    moment("validated_at", nullable=True),
    moment("deployed_at", nullable=True),
    moment("active_at", nullable=True),
    moment("deprecated_at", nullable=True),
    moment("archived_at", nullable=True),
    moment("updated_at"),
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
    moment("opened_at"),
    moment("acknowledged_at", nullable=True),
    moment("ended_at", nullable=True),
    Index("maintenance_deployments_node", "node_id", "status"),
)
