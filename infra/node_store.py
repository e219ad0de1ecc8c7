"""A node's own disk: one SQLite file, written through to the disk before anything is answered."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from schemas.node import DeliveryConflict, NodeDelivery, NodeReceipt

_SCHEMA = """
CREATE TABLE IF NOT EXISTS inbox (
    smart_contract_id TEXT PRIMARY KEY,
    number            INTEGER NOT NULL,
    delivery          TEXT NOT NULL,
    receipt_hash      TEXT NOT NULL
) STRICT
"""


class NodeStore:
    """The inbox of a node. Each call opens the file: nothing is kept in memory, so a killed node forgets nothing."""

    def __init__(self, node_id: str, file: Path) -> None:
        self._node_id = node_id
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction() as database:
            database.execute(_SCHEMA)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._file, timeout=5, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def take(self, delivery: NodeDelivery) -> NodeReceipt:
        """Stores a delivery once. A higher number replaces what is there; an older one does not come back.

        Raises `DeliveryConflict` when the same or a higher number is there with other content.
        """
        name, number, receipt = delivery.smart_contract_id, delivery.number, delivery.content_hash()
        with self._transaction() as database:
            row = database.execute(
                "SELECT number, receipt_hash FROM inbox WHERE smart_contract_id = ?", (name,)
            ).fetchone()
            if row is not None and row[1] != receipt and row[0] >= number:
                raise DeliveryConflict(
                    f"node {self._node_id} already holds delivery {row[0]} of {name} with other content: "
                    "look at its inbox before this PO is retried"
                )
            database.execute(
                "INSERT OR REPLACE INTO inbox VALUES (?, ?, ?, ?)", (name, number, delivery.model_dump_json(), receipt)
            )
        return NodeReceipt(node_id=self._node_id, smart_contract_id=name, receipt_hash=receipt)

    def inbox(self) -> list[NodeDelivery]:
        """All that the node has taken, by ID."""
        with self._transaction() as database:
            rows = database.execute("SELECT delivery FROM inbox ORDER BY smart_contract_id").fetchall()
        return [NodeDelivery.model_validate_json(text) for (text,) in rows]
