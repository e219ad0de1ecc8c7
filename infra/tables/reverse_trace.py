"""Reverse traces, the results that they put in doubt, and what was decided on them."""

from sqlalchemy import BigInteger, Column, Date, ForeignKey, Index, Integer, Table, Text

from infra.tables.base import metadata, moment

traces = Table(
    "traces",
    metadata,
    Column("trace_id", Text, primary_key=True),
    Column("equipment_id", Text, nullable=False),
    Column("certificate_number", Text, nullable=False),
    Column("calibrated_on", Date, nullable=False),
    Column("since", Date),
    moment("found_at"),
    moment("opened_at"),
    moment("searched_at", nullable=True),
    moment("closed_at", nullable=True),
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
    moment("submitted_at"),
    moment("decided_at", nullable=True),
    Index("traced_results_order", "trace_id", "clientpo_id"),
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
    moment("decided_at"),
)
