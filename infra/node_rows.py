"""The rows of a node's maintenance, as SQL: contracts in force, the register, calibrations and checks."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.equipment import (
    CalibrationRecord,
    ContractInForce,
    EquipmentItem,
    LastCheck,
    Standing,
    shortest_interval,
    standing,
)
from schemas.maintenance import ContractDelivery, ContractRetired, MaintenanceContract
from schemas.node import Node
from schemas.node_report import RegisteredItem

SCHEMA = (
    # One that ended here keeps its row, without a version: its number keeps late deliveries out.
    """
    CREATE TABLE IF NOT EXISTS contracts (
        contract_id   TEXT PRIMARY KEY,
        number        INTEGER NOT NULL,
        version       TEXT,
        replaced      TEXT,
        contract      TEXT,
        document_hash TEXT
    ) STRICT
    """,
    # What later versions took over from, until it has ended: it comes back where the later one was retired unheard.
    """
    CREATE TABLE IF NOT EXISTS replaced_contracts (
        contract_id   TEXT NOT NULL,
        number        INTEGER NOT NULL,
        version       TEXT NOT NULL,
        contract      TEXT NOT NULL,
        document_hash TEXT NOT NULL,
        PRIMARY KEY (contract_id, number)
    ) STRICT
    """,
    # Deliveries that were retired, also before they came: they come too late.
    """
    CREATE TABLE IF NOT EXISTS retired_deliveries (
        contract_id TEXT NOT NULL,
        number      INTEGER NOT NULL,
        PRIMARY KEY (contract_id, number)
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS contract_types (
        equipment_type TEXT NOT NULL,
        contract_id    TEXT NOT NULL,
        PRIMARY KEY (equipment_type, contract_id)
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS register (
        equipment_id TEXT PRIMARY KEY,
        node_id      TEXT NOT NULL,
        revision     INTEGER NOT NULL,
        line         TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX IF NOT EXISTS register_node ON register (node_id)",
    # Calibrations recorded here that are not in the register's line yet, under the number of their report.
    """
    CREATE TABLE IF NOT EXISTS own_calibrations (
        number       INTEGER PRIMARY KEY,
        equipment_id TEXT NOT NULL,
        recorded_at  TEXT NOT NULL,
        calibration  TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX IF NOT EXISTS own_calibrations_equipment ON own_calibrations (equipment_id)",
    """
    CREATE TABLE IF NOT EXISTS checks (
        equipment_id TEXT NOT NULL,
        contract_id  TEXT NOT NULL,
        check_type   TEXT NOT NULL,
        last_check   TEXT NOT NULL,
        causes       TEXT NOT NULL,
        at_node_since INTEGER NOT NULL,
        PRIMARY KEY (equipment_id, contract_id, check_type)
    ) STRICT
    """,
)


@dataclass(frozen=True)
class Known:
    """What the node knows of an instrument: all that says where it stands.

    `calibrations` are the newest that the hub knows, and those that were recorded here and are not in the register's
    line yet, in the order in which they were recorded. `checks` are the last ones since it came here, or
    returned to service: what was done before says nothing of what happened to it since.
    """

    item: EquipmentItem
    calibrations: tuple[CalibrationRecord, ...]
    contracts: tuple[ContractInForce, ...]
    checks: Mapping[tuple[str, str], LastCheck]
    at_node_since: int

    @property
    def last(self) -> CalibrationRecord | None:
        """The newest that none corrects; of those of one day it is the one that was recorded last."""
        corrected = {record.corrects for record in self.calibrations}
        newest: CalibrationRecord | None = None
        for record in self.calibrations:
            if record.certificate_number in corrected:
                continue
            if newest is None or record.calibrated_on >= newest.calibrated_on:
                newest = record
        return newest

    @property
    def interval_days(self) -> int | None:
        return shortest_interval(self.item, (each.contract for each in self.contracts))

    def standing(self, node: Node, at: datetime) -> Standing:
        return standing(self.item, self.last, self.contracts, self.checks, node, at)

    @property
    def check_types(self) -> list[tuple[str, str]]:
        """What contracts ask for, by contract and check type."""
        return [
            (each.contract.smart_contract_id, check_type)
            for each in self.contracts
            for check_type in each.contract.check_types
        ]


def held(database: sqlite3.Connection, contract_id: str) -> tuple[int, str | None] | None:
    """Number and version; no version where that has ended."""
    row: tuple[int, str | None] | None = database.execute(
        "SELECT number, version FROM contracts WHERE contract_id = ?", (contract_id,)
    ).fetchone()
    return row


def comes_too_late(database: sqlite3.Connection, delivery: ContractDelivery) -> bool:
    """It came before, or after one with a higher number, or after it was retired."""
    return (
        database.execute(
            "SELECT 1 FROM contracts WHERE contract_id = :name AND number >= :number UNION ALL"
            " SELECT 1 FROM retired_deliveries WHERE contract_id = :name AND number = :number",
            {"name": delivery.contract_id, "number": delivery.number},
        ).fetchone()
        is not None
    )


def retire(database: sqlite3.Connection, retired: ContractRetired) -> bool:
    """Ends this delivery and, where it was heard of, those that it took over from; False where it was not in force."""
    key = (retired.contract_id, retired.number)
    database.execute("INSERT OR IGNORE INTO retired_deliveries VALUES (?, ?)", key)
    which = "number = ?" if retired.restores else "number <= ?"
    database.execute(f"DELETE FROM replaced_contracts WHERE contract_id = ? AND {which}", key)
    ended = database.execute(
        "UPDATE contracts SET version = NULL, contract = NULL, document_hash = NULL"
        " WHERE contract_id = ? AND number = ? AND version IS NOT NULL",
        key,
    ).rowcount
    if ended:
        database.execute("DELETE FROM contract_types WHERE contract_id = ?", (retired.contract_id,))
    return ended > 0


def restore(database: sqlite3.Connection, contract_id: str) -> ContractInForce | None:
    """Puts the newest version back that was taken over from and has not ended.

    None where there is none: then nothing came, and what was sent before it may still come.
    """
    row = database.execute(
        "SELECT number, version, contract, document_hash FROM replaced_contracts WHERE contract_id = ?"
        " ORDER BY number DESC LIMIT 1",
        (contract_id,),
    ).fetchone()
    if row is None:
        database.execute("DELETE FROM contracts WHERE contract_id = ?", (contract_id,))
        return None
    number, version, text, hash_ = row
    database.execute("DELETE FROM replaced_contracts WHERE contract_id = ? AND number = ?", (contract_id, number))
    restored = in_force(version, text)
    _write(database, (contract_id, number, version, None, text, hash_), restored.contract)
    return restored


def put(
    database: sqlite3.Connection, delivery: ContractDelivery, replaced: str | None, contract: MaintenanceContract
) -> None:
    database.execute(
        "INSERT INTO replaced_contracts SELECT contract_id, number, version, contract, document_hash FROM contracts"
        " WHERE contract_id = ? AND version IS NOT NULL",
        (delivery.contract_id,),
    )
    text = contract.model_dump_json()
    row = (delivery.contract_id, delivery.number, delivery.version, replaced, text, delivery.document_hash)
    _write(database, row, contract)


def _write(database: sqlite3.Connection, row: tuple[object, ...], contract: MaintenanceContract) -> None:
    name = contract.smart_contract_id
    database.execute("INSERT OR REPLACE INTO contracts VALUES (?, ?, ?, ?, ?, ?)", row)
    database.execute("DELETE FROM contract_types WHERE contract_id = ?", (name,))
    database.executemany(
        "INSERT INTO contract_types VALUES (?, ?)", [(kind, name) for kind in set(contract.equipment_types)]
    )


def in_force(version: str, contract: str) -> ContractInForce:
    return ContractInForce(version=version, contract=MaintenanceContract.model_validate_json(contract))


def known(database: sqlite3.Connection, name: str) -> Known | None:
    row = database.execute("SELECT line FROM register WHERE equipment_id = ?", (name,)).fetchone()
    if row is None:
        return None
    line = RegisteredItem.model_validate_json(row[0])
    contracts = database.execute(
        "SELECT version, contract FROM contract_types JOIN contracts USING (contract_id)"
        " WHERE equipment_type = ? ORDER BY contract_id",
        (line.item.equipment_type,),
    )
    own = database.execute(
        "SELECT recorded_at, calibration FROM own_calibrations WHERE equipment_id = ? ORDER BY number", (name,)
    )
    checks = database.execute(
        "SELECT last_check FROM checks WHERE equipment_id = ? AND at_node_since = ?", (name, line.at_node_since)
    )
    found = [LastCheck.model_validate_json(text) for (text,) in checks]
    return Known(
        item=line.item,
        calibrations=tuple(_in_order(line, own)),
        contracts=tuple(in_force(*row) for row in contracts),
        checks={(check.contract_id, check.check_type): check for check in found},
        at_node_since=line.at_node_since,
    )


def _in_order(line: RegisteredItem, own: Iterable[tuple[str, str]]) -> Iterator[CalibrationRecord]:
    """As the hub will have them once it has heard of all."""
    recorded = [(datetime.fromisoformat(at), CalibrationRecord.model_validate_json(text)) for at, text in own]
    if line.last_calibration is not None:
        recorded.insert(0, (line.last_recorded_at or datetime.min.replace(tzinfo=UTC), line.last_calibration))
    return (record for _, record in sorted(recorded, key=lambda each: each[0]))


def checks_of(database: sqlite3.Connection, contract_id: str) -> list[tuple[str, str, str, str]]:
    """Instrument, its type, check type and open causes of each check that was done under the contract."""
    return database.execute(
        "SELECT equipment_id, line ->> '$.item.equipment_type', check_type, causes"
        " FROM checks JOIN register USING (equipment_id) WHERE contract_id = ?",
        (contract_id,),
    ).fetchall()


def open_causes(database: sqlite3.Connection, key: tuple[str, str, str]) -> list[str]:
    row = database.execute(
        "SELECT causes FROM checks WHERE equipment_id = ? AND contract_id = ? AND check_type = ?", key
    ).fetchone()
    return row[0].split() if row else []
