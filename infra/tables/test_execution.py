"""Tests, their results and the sign-offs on them."""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from infra.tables.base import metadata, moment

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
    moment("opened_at"),
    moment("started_at", nullable=True),
    moment("submitted_at", nullable=True),
    moment("signed_at", nullable=True),
    moment("authorized_at", nullable=True),
    moment("updated_at"),
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
    moment("submitted_at"),
)

test_signoffs = Table(
    "test_signoffs",
    metadata,
    Column("entry", BigInteger, primary_key=True, autoincrement=False),  # the number of the ledger entry with the proof
    Column("smart_contract_id", Text, nullable=False),
    Column("test_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("meaning", Text, nullable=False),
    Column("reason", Text),
    Column("content_hash", Text, nullable=False),
    Column("qualification", Text),
    moment("signed_at"),
    moment("void_at", nullable=True),
    Index("test_signoffs_test", "smart_contract_id", "test_id"),
)
