"""Packages on their way, and what their receivers keep of them."""

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Index, Integer, Table, Text, UniqueConstraint

from infra.tables.base import metadata, moment

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
    moment("signed_at"),  # the last sign-off
    moment("authorized_at"),
    moment("opened_at"),
    moment("received_at", nullable=True),
    moment("vault_at", nullable=True),
    moment("next_node_at", nullable=True),
    moment("ended_at", nullable=True),
    moment("updated_at"),
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
    moment("opened_at"),
    moment("decided_at", nullable=True),
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
    moment("received_at"),
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
    moment("received_at"),
    Index("completed_orders_order", "clientpo_id"),
)
