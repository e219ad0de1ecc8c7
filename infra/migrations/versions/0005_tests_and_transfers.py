"""Tests with their results and sign-offs, transfers with their nonconformances, the vault, completed orders."""

import sqlalchemy as sa
from alembic import context, op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

CHANGING = ("tests", "test_signoffs", "transfers", "nonconformances")
KEPT_AS_THEY_ARE = ("test_results", "vault_packages", "completed_orders")


def upgrade() -> None:
    op.add_column("client_pos", sa.Column("routed_from", sa.Text))
    op.create_index("approvals_subject", "approvals", ["subject"])
    _create_tests()
    _create_transfers()
    _create_vault()
    bind = op.get_bind()
    role = bind.dialect.identifier_preparer.quote_identifier(context.config.attributes["writer"])
    bind.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(CHANGING)} TO {role}")
    bind.exec_driver_sql(f"GRANT SELECT, INSERT ON {', '.join(KEPT_AS_THEY_ARE)} TO {role}")


def _texts(*names: str, nullable: bool = False) -> "list[sa.Column[str]]":
    return [sa.Column(name, sa.Text, nullable=nullable) for name in names]


def _moments(*names: str, nullable: bool = False) -> "list[sa.Column[object]]":
    return [sa.Column(name, sa.DateTime(timezone=True), nullable=nullable) for name in names]


def _number(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def _create_tests() -> None:
    op.create_table(
        "tests",
        sa.Column("smart_contract_id", sa.Text, primary_key=True),
        *_texts("clientpo_id", "node_id", "status"),
        *_texts("performer", "begun", nullable=True),
        _number("revision"),
        *_texts("missing", "open_signoffs", "hold_reason", "rework_reason", "package_id", nullable=True),
        *_moments("opened_at", "updated_at"),
        *_moments("started_at", "submitted_at", "signed_at", "authorized_at", nullable=True),
    )
    op.create_index("tests_status", "tests", ["status", "opened_at"])
    op.create_index("tests_order", "tests", ["clientpo_id"])
    op.create_table(
        "test_results",
        sa.Column("smart_contract_id", sa.Text, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("test_id", sa.Text, primary_key=True),
        *_texts("verdict", "result", "content_hash", "submitted_by"),
        *_moments("submitted_at"),
    )
    op.create_table(
        "test_signoffs",
        sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
        *_texts("smart_contract_id", "test_id", "role", "person", "decision", "meaning", "content_hash"),
        *_texts("reason", "qualification", nullable=True),
        *_moments("signed_at"),
        *_moments("void_at", nullable=True),
    )
    op.create_index("test_signoffs_test", "test_signoffs", ["smart_contract_id", "test_id"])


def _create_transfers() -> None:
    op.create_table(
        "transfers",
        sa.Column("package_id", sa.Text, primary_key=True),
        *_texts("smart_contract_id", "clientpo_id", "node_id", "verdict", "package", "content_hash", "status"),
        sa.Column("revision", sa.Integer, nullable=False),
        *_texts("vault_status", "next_node_status", "business_hub_status"),
        *(_number(name) for name in ("vault_attempts", "next_node_attempts", "business_hub_attempts")),
        *_texts("vault_error", "next_node_error", "business_hub_error", nullable=True),
        *_texts("next_station", "next_contract", "disposition", nullable=True),
        *_moments("signed_at", "authorized_at", "opened_at", "updated_at"),
        *_moments("received_at", "vault_at", "next_node_at", "ended_at", nullable=True),
        sa.UniqueConstraint("smart_contract_id", "revision", name="transfers_revision"),
    )
    op.create_index("transfers_status", "transfers", ["status", "opened_at"])
    op.create_index("transfers_order", "transfers", ["clientpo_id"])
    op.create_table(
        "nonconformances",
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("package_id", sa.Text, sa.ForeignKey("transfers.package_id"), nullable=False, unique=True),
        *_texts("smart_contract_id", "clientpo_id", "verdict", "tests", "content_hash"),
        *_texts("disposition", "decided_by", "decided_role", "reason", nullable=True),
        *_moments("opened_at"),
        *_moments("decided_at", nullable=True),
    )


def _create_vault() -> None:
    op.create_table(
        "vault_packages",
        sa.Column("package_id", sa.Text, primary_key=True),
        *_texts("smart_contract_id", "clientpo_id"),
        sa.Column("revision", sa.Integer, nullable=False),
        *_texts("replaces", nullable=True),
        *_texts("verdict", "body", "content_hash"),
        sa.Column("entry", sa.BigInteger, nullable=False),
        *_moments("received_at"),
        sa.UniqueConstraint("smart_contract_id", "revision", name="vault_packages_revision"),
    )
    op.create_index("vault_packages_order", "vault_packages", ["clientpo_id"])
    op.create_table(
        "completed_orders",
        sa.Column("package_id", sa.Text, primary_key=True),
        *_texts("clientpo_id", "smart_contract_id", "verdict", "content_hash"),
        *_moments("received_at"),
    )
    op.create_index("completed_orders_order", "completed_orders", ["clientpo_id"])
