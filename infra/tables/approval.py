"""Approvals."""

from sqlalchemy import Column, Index, Table, Text

from infra.tables.base import metadata, moment

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
    moment("opened_at"),
    moment("expires_at"),
    moment("ended_at", nullable=True),
    Index("approvals_subject", "subject"),
    Index("approvals_open", "opened_at", postgresql_where="status = 'open'"),
)
