"""The ledger: its entries, and the checkpoints that sign them."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from infra.tables.base import metadata, moment

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
    moment("occurred_at"),
    moment("recorded_at"),
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
    moment("created_at"),
)
