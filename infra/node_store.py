"""What a node keeps for its tests, on its own disk."""

import json
from pathlib import Path
from typing import Any

from infra.node_disk import NodeDisk
from schemas.guardian import AuthorizationPackage
from schemas.node import DeliveryConflict, NodeDelivery, NodeReceipt, NotHeld, PartReady
from schemas.test_results import KeptResults

_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS inbox (
        smart_contract_id TEXT PRIMARY KEY,
        number            INTEGER NOT NULL,
        delivery          TEXT NOT NULL,
        receipt_hash      TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS pickups (
        smart_contract_id TEXT NOT NULL,
        package_id        TEXT NOT NULL,
        ready             TEXT NOT NULL,
        PRIMARY KEY (smart_contract_id, package_id)
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS results (
        smart_contract_id TEXT NOT NULL,
        revision          INTEGER NOT NULL,
        results           TEXT NOT NULL,
        PRIMARY KEY (smart_contract_id, revision)
    ) STRICT
    """,
    # `body` holds the signed bytes themselves, so that the signature can be checked with nothing but this file.
    """
    CREATE TABLE IF NOT EXISTS packages (
        package_id        TEXT PRIMARY KEY,
        smart_contract_id TEXT NOT NULL,
        revision          INTEGER NOT NULL,
        body              TEXT NOT NULL,
        signature         TEXT NOT NULL,
        UNIQUE (smart_contract_id, revision)
    ) STRICT
    """,
)


class NodeStore:
    """What a node has: deliveries, parts to fetch, its own copy of results and of what its Guardian authorized."""

    def __init__(self, node_id: str, file: Path) -> None:
        self._node_id = node_id
        self._disk = NodeDisk(file, _SCHEMA)

    def close(self) -> None:
        """Lets go of the file."""
        self._disk.close()

    # --- deliveries

    def take(self, delivery: NodeDelivery) -> NodeReceipt:
        """Stores a delivery once. A higher number replaces what is there; an older one does not come back.

        Raises `DeliveryConflict` when the same or a higher number is there with other content.
        """
        name, number, receipt = delivery.smart_contract_id, delivery.number, delivery.content_hash()
        with self._disk.writing() as database:
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
        with self._disk.reading() as database:
            rows = database.execute("SELECT delivery FROM inbox ORDER BY smart_contract_id").fetchall()
        return [NodeDelivery.model_validate_json(text) for (text,) in rows]

    def delivery(self, smart_contract_id: str) -> NodeDelivery:
        """The newest delivery of a contract; raises `NotHeld`."""
        with self._disk.reading() as database:
            row = database.execute(
                "SELECT delivery FROM inbox WHERE smart_contract_id = ?", (smart_contract_id,)
            ).fetchone()
        if row is None:
            raise NotHeld(f"node {self._node_id} does not hold the contract {smart_contract_id}")
        return NodeDelivery.model_validate_json(row[0])

    # --- parts to fetch

    def announce(self, ready: PartReady) -> None:
        """Keeps the announcement of a part. What was announced first for a contract by a package stays."""
        with self._disk.writing() as database:
            database.execute(
                "INSERT OR IGNORE INTO pickups VALUES (?, ?, ?)",
                (ready.smart_contract_id, ready.package_id, ready.model_dump_json()),
            )

    def pickups(self) -> list[PartReady]:
        """All parts that were announced, by contract."""
        with self._disk.reading() as database:
            rows = database.execute("SELECT ready FROM pickups ORDER BY smart_contract_id, package_id").fetchall()
        return [PartReady.model_validate_json(text) for (text,) in rows]

    # --- results

    def keep_results(self, results: KeptResults) -> KeptResults:
        """Keeps a revision for ever; answers with what is kept, whose flags are those of the first time.

        Raises `DeliveryConflict` when it is there with other content.
        """
        name, revision = results.smart_contract_id, results.revision
        with self._disk.writing() as database:
            database.execute(
                "INSERT OR IGNORE INTO results VALUES (?, ?, ?)", (name, revision, results.model_dump_json())
            )
            (kept,) = database.execute(
                "SELECT results FROM results WHERE smart_contract_id = ? AND revision = ?", (name, revision)
            ).fetchone()
        found = KeptResults.model_validate_json(kept)
        # As JSON: 1.0 and 1.00 are equal as numbers, and not as what was measured.
        if _given(found) != _given(results):
            raise DeliveryConflict(
                f"node {self._node_id} already keeps revision {revision} of the results of {name} with other content"
            )
        return found

    def results(self, smart_contract_id: str) -> list[KeptResults]:
        """All revisions of a contract's results, the oldest first."""
        with self._disk.reading() as database:
            rows = database.execute(
                "SELECT results FROM results WHERE smart_contract_id = ? ORDER BY revision", (smart_contract_id,)
            ).fetchall()
        return [KeptResults.model_validate_json(text) for (text,) in rows]

    # --- authorization packages

    def keep_package(self, package: AuthorizationPackage) -> AuthorizationPackage:
        """Keeps a package unless one of its ID is there; answers with what is there now."""
        data = package.test_data
        with self._disk.writing() as database:
            database.execute(
                "INSERT OR IGNORE INTO packages VALUES (?, ?, ?, ?, ?)",
                (
                    *(package.package_id, data.smart_contract_id, data.revision),
                    *(package.signed_bytes().decode(), package.guardian_signature.model_dump_json()),
                ),
            )
        (kept,) = [kept for kept in self.packages(data.smart_contract_id) if kept.package_id == package.package_id]
        return kept

    def packages(self, smart_contract_id: str) -> list[AuthorizationPackage]:
        """All packages of a contract, the oldest first."""
        with self._disk.reading() as database:
            rows = database.execute(
                "SELECT body, signature FROM packages WHERE smart_contract_id = ? ORDER BY revision",
                (smart_contract_id,),
            ).fetchall()
        return [_package(*row) for row in rows]

    def backup_path(self, package_id: str) -> str:
        """Where the node's own copy of a package is: file, table and row."""
        return f"{self._disk.file.absolute()}#packages/{package_id}"


def _given(results: KeptResults) -> dict[str, Any]:
    """What the node was given; the flags are its own."""
    return results.model_dump(mode="json", exclude={"flags"})


def _package(body: str, signature: str) -> AuthorizationPackage:
    fields: dict[str, Any] = json.loads(body)
    return AuthorizationPackage.model_validate({**fields, "guardian_signature": json.loads(signature)})
