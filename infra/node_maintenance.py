"""The maintenance module of a node: contracts in force, its copy of the register, and what it did by itself.

Everything lies on the node's own disk, and works while all else is away. What a node does is written together with its
report, in one transaction: what was done is told, and what was not done is not.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.node_disk import NodeDisk
from infra.node_outbox import SCHEMA as OUTBOX
from infra.node_outbox import Outbox, counter
from schemas.alert import Severity, cause_of
from schemas.base import excerpt, timestamp
from schemas.canonical import document_hash
from schemas.equipment import (
    CalibrationRecord,
    CalibrationResult,
    ContractInForce,
    EquipmentItem,
    LastCheck,
    Standing,
    calibration_refusal,
    standing,
)
from schemas.faults import faults
from schemas.maintenance import ContractDelivery, ContractReceipt, ContractRetired, MaintenanceContract
from schemas.maintenance_alert import IssueType, MaintenanceIssue
from schemas.maintenance_check import CheckResult, CheckWork, check_alerts, execute, unfit
from schemas.node import DeliveryConflict, Node
from schemas.node_report import NodeReports, RegisteredItem, RegisterPage, ReportedAlert
from schemas.test_execution import Instrument

_SCHEMA = (
    *OUTBOX,
    # A retired contract keeps its row, without a version: its number keeps late deliveries out.
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
        PRIMARY KEY (equipment_id, contract_id, check_type)
    ) STRICT
    """,
)


class Refused(ValueError):
    """What a person asked for cannot be done; says why, and what can be."""


@dataclass(frozen=True)
class Known:
    """What the node knows of an instrument: all that says where it stands."""

    item: EquipmentItem
    last: CalibrationRecord | None
    contracts: tuple[ContractInForce, ...]
    checks: Mapping[tuple[str, str], LastCheck]

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


_OF_CALIBRATION = (IssueType.CALIBRATION_EXPIRED, IssueType.CALIBRATION_EXPIRING, IssueType.CALIBRATION_FAILED)
"""Issues that a good calibration ends."""


class NodeMaintenance:
    """Every call opens the node's file; the worker and the local commands of a node may be there at once."""

    def __init__(self, node: Node, file: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.node = node
        self._disk = NodeDisk(file, _SCHEMA)
        self._outbox = Outbox(self._disk)
        self._clock = clock

    # --- contracts

    def take_contract(self, delivery: ContractDelivery) -> ContractReceipt:
        """Puts a version into force in place of what is there, unless a delivery with its number or a higher one came.

        Raises `DeliveryConflict` for a document that is no contract, or is not what its hash says.
        """
        contract = _contract(delivery)
        with self._disk.writing() as database:
            held = _held(database, delivery.contract_id)
            if held is None or held[0] < delivery.number:
                replaced = held[1] if held else None
                _put(database, delivery, replaced, contract)
                instead = f"instead of {replaced}" if replaced else "for the first time"
                details = f"Loaded {delivery.contract_id} {delivery.version} {instead}"
                self._loaded(database, delivery.contract_id, contract, details)
            return self._receipt(database, delivery.contract_id)

    def retire_contract(self, retired: ContractRetired) -> ContractReceipt:
        """Puts the contract out of force, unless a newer delivery came; what was delivered before comes too late."""
        with self._disk.writing() as database:
            held = _held(database, retired.contract_id)
            if held is None or held[0] < retired.number or (held[0] == retired.number and held[1] is not None):
                database.execute(
                    "INSERT OR REPLACE INTO contracts VALUES (?, ?, NULL, ?, NULL, NULL)",
                    (retired.contract_id, retired.number, held[1] if held else None),
                )
                database.execute("DELETE FROM contract_types WHERE contract_id = ?", (retired.contract_id,))
                self._loaded(database, retired.contract_id, None, f"Executes {retired.contract_id} no more: retired")
            return self._receipt(database, retired.contract_id)

    def contracts(self) -> tuple[ContractInForce, ...]:
        """Those in force, by ID."""
        with self._disk.reading() as database:
            rows = database.execute(
                "SELECT version, contract FROM contracts WHERE version IS NOT NULL ORDER BY contract_id"
            )
            return tuple(_in_force(*row) for row in rows)

    def _receipt(self, database: sqlite3.Connection, contract_id: str) -> ContractReceipt:
        version, hash_, replaced = database.execute(
            "SELECT version, document_hash, replaced FROM contracts WHERE contract_id = ?", (contract_id,)
        ).fetchone()
        return ContractReceipt(
            node_id=self.node.node_id, contract_id=contract_id, version=version, document_hash=hash_, replaced=replaced
        )

    def _loaded(
        self, database: sqlite3.Connection, contract_id: str, contract: MaintenanceContract | None, details: str
    ) -> None:
        """Reports what is in force now; what the contract does not ask any more is no cause of an alert any more."""
        in_force = database.execute(
            "SELECT contract_id, version FROM contracts WHERE version IS NOT NULL ORDER BY contract_id"
        ).fetchall()
        dropped = []
        checks = "SELECT equipment_id, check_type, causes FROM checks WHERE contract_id = ?"
        for equipment_id, check_type, causes in database.execute(checks, (contract_id,)).fetchall():
            if contract is None or contract.procedure(check_type) is None:
                dropped += causes.split()
                key = (equipment_id, contract_id, check_type)
                database.execute(
                    "DELETE FROM checks WHERE equipment_id = ? AND contract_id = ? AND check_type = ?", key
                )
        self._outbox.append(
            database,
            happened_at=self._clock(),
            action="load_contracts",
            target=self.node.node_id,
            details=details,
            user_id="system",
            metadata={
                "contract_ids": [name for name, _ in in_force],
                "versions": dict(in_force),
                "station_type": self.node.station_type,
            },
            resolved=tuple(dropped),
        )

    # --- the register

    def take_register(self, page: RegisterPage) -> int:
        """Keeps the lines that are newer than what is there; answers with the revision that the node has then.

        A page that begins after what the node has leaves a gap: it is not taken.
        """
        with self._disk.writing() as database:
            revision = counter(database, "register")
            if page.since > revision:
                return revision
            for line in page.items:
                self._keep(database, line)
            revision = max(revision, page.revision)
            database.execute("INSERT OR REPLACE INTO counters VALUES ('register', ?)", (revision,))
            return revision

    def _keep(self, database: sqlite3.Connection, line: RegisteredItem) -> None:
        name = line.item.equipment_id
        kept = database.execute(
            "INSERT INTO register VALUES (:name, :node, :revision, :line) ON CONFLICT DO UPDATE"
            " SET node_id = :node, revision = :revision, line = :line WHERE revision < :revision",
            {"name": name, "node": line.item.node_id, "revision": line.revision, "line": line.model_dump_json()},
        )
        if kept.rowcount:  # The hub wrote this line after it had confirmed those, so it knows them.
            database.execute(
                "DELETE FROM own_calibrations WHERE equipment_id = ? AND number <= ?",
                (name, counter(database, "confirmed")),
            )

    # --- reports

    def reports(self) -> NodeReports:
        """The oldest that the hub has not confirmed, as much as goes into one message."""
        with self._disk.reading() as database:
            revision = counter(database, "register")
        return NodeReports(node_id=self.node.node_id, reports=self._outbox.oldest(), register_revision=revision)

    def confirm(self, up_to: int) -> None:
        """The hub has recorded them."""
        self._outbox.confirm(up_to)

    def waiting(self) -> tuple[int, int]:
        """How many reports wait for the hub, and the number of the newest that was ever written."""
        return self._outbox.waiting()

    # --- where instruments stand

    def known(self, equipment_ids: Iterable[str]) -> dict[str, Known]:
        """Of these, the ones that are in the node's register, wherever they are now."""
        with self._disk.reading() as database:
            found = {name: _known(database, name) for name in equipment_ids}
        return {name: known for name, known in found.items() if known is not None}

    def here(self) -> dict[str, Known]:
        """All that are at this node, by ID."""
        with self._disk.reading() as database:
            rows = database.execute(
                "SELECT equipment_id FROM register WHERE node_id = ? ORDER BY equipment_id", (self.node.node_id,)
            ).fetchall()
        return self.known(name for (name,) in rows)

    def _at_hand(self, database: sqlite3.Connection, name: str) -> Known:
        """What a person works on here; raises `Refused`."""
        known = _known(database, name)
        if known is None:
            raise Refused(f"{name} is not in the register of {self.node.node_id}: register it at the hub first")
        if known.item.node_id != self.node.node_id:
            raise Refused(f"{name} is at {known.item.node_id}: do it there, or check it out to {self.node.node_id}")
        return known

    # --- calibrations that are recorded here

    def record_calibration(self, record: CalibrationRecord, person: str) -> Standing:
        """Records it on the node; answers with where its instrument stands then. The same again changes nothing.

        Raises `Refused` as the hub would: for what is not at this node, and as `calibration_refusal` says.
        """
        at, name = self._clock(), record.equipment_id
        with self._disk.writing() as database:
            before = self._at_hand(database, name)
            if not _is_new(database, record, before.last):
                return before.standing(self.node, at)
            if refusal := calibration_refusal(record, self.node.day(at)):
                raise Refused(refusal)
            by_it = replace(before, last=record).standing(self.node, at)
            newest = before.last is None or record.calibrated_on >= before.last.calibrated_on
            good = newest and by_it.calibration_valid
            number = self._outbox.append(
                database,
                happened_at=at,
                action="record_calibration",
                target=name,
                details=f"Calibration recorded: {before.item.description} - Cert: {record.certificate_number}",
                user_id=person,
                metadata={
                    "success": record.result is CalibrationResult.PASSED,
                    "equipment_id": name,
                    "previous_calibration": before.last and before.last.calibrated_on.isoformat(),
                    "new_calibration": record.calibrated_on.isoformat(),
                    "certificate": record.certificate_number,
                    "next_due": by_it.due_on and by_it.due_on.isoformat(),
                },
                calibration=record,
                resolved=tuple(cause_of(issue, name) for issue in _OF_CALIBRATION) if good else (),
            )
            database.execute("INSERT INTO own_calibrations VALUES (?, ?, ?)", (number, name, record.model_dump_json()))
            if record.result is CalibrationResult.FAILED:
                self._alert(database, at, person, _calibration_failed(self.node.node_id, before.item, record))
            return self._validated(database, name, at)

    def validate_calibration(self, equipment_id: str) -> Standing:
        """Where an instrument stands, as a person asked and the ledger will say; raises `Refused`."""
        with self._disk.writing() as database:
            self._at_hand(database, equipment_id)
            return self._validated(database, equipment_id, self._clock())

    def _validated(self, database: sqlite3.Connection, name: str, at: datetime) -> Standing:
        known = self._at_hand(database, name)
        found = known.standing(self.node, at)
        self._outbox.append(
            database,
            happened_at=at,
            action="validate_calibration",
            target=name,
            details=f"Calibration check: {known.item.description} - {found.state}",
            user_id="system",
            metadata=_validation(known.item, found, self.node.day(at)),
        )
        return found

    # --- checks

    def asked(self, equipment_id: str, check_type: str, contract_id: str | None = None) -> ContractInForce:
        """The contract in force that asks for this check of this instrument; raises `Refused` unless there is one."""
        with self._disk.reading() as database:
            return _asked(self._at_hand(database, equipment_id), check_type, contract_id)

    def check(self, equipment_id: str, check_type: str, work: CheckWork, contract_id: str | None = None) -> CheckResult:
        """Executes a check and keeps how it came out; raises `Refused` for what is no such check, or does not fit it.

        What is wrong with it is alerted, once for each cause, until the check is passed again.
        """
        at = self._clock()
        with self._disk.writing() as database:
            known = self._at_hand(database, equipment_id)
            each = _asked(known, check_type, contract_id)
            procedure = each.contract.procedure(check_type)
            if procedure and (faults := list(unfit(procedure.steps, work))):
                raise Refused("; ".join(faults))
            result = execute(each, equipment_id, check_type, work, at)
            alerts = list(check_alerts(self.node.node_id, known.item, each.contract, result))
            still = {alert.cause for alert in alerts}
            key = (equipment_id, result.contract_id, check_type)
            self._outbox.append(
                database,
                happened_at=at,
                action="execute_check",
                target=equipment_id,
                details=f"Maintenance check: {check_type} - {'SUCCESS' if result.success else 'FAILED'}",
                user_id=work.person,
                metadata={**result.model_dump(mode="json"), "success": result.success},
                resolved=tuple(cause for cause in _open_causes(database, key) if cause not in still),
            )
            last = LastCheck(
                contract_id=result.contract_id,
                version=each.version,
                check_type=check_type,
                at=at,
                passed=result.success,
            )
            database.execute(
                "INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?, ?)",
                (*key, last.model_dump_json(), " ".join(sorted(still))),
            )
            for alert in alerts:
                self._alert(database, at, work.person, alert)
            return result

    def _alert(self, database: sqlite3.Connection, at: datetime, person: str, alert: ReportedAlert) -> None:
        self._outbox.append(
            database,
            happened_at=at,
            action="generate_alert",
            target=alert.subject,
            details=f"Maintenance alert: {alert.alert_type}",
            user_id=person,
            metadata={
                "alert_type": alert.alert_type,
                "severity": alert.severity,
                "station_type": self.node.station_type,
                "timestamp": timestamp(at),
                "requires_action": True,
                **(alert.issue.model_dump(mode="json") if alert.issue else {}),
            },
            alert=alert,
        )

    # --- while a test runs

    def flags(self, instruments: Iterable[Instrument], at: datetime) -> tuple[str, ...]:
        """What people must know of results that these instruments gave until then: what ceased to hold meanwhile."""
        known, day = self.known(instrument.equipment_id for instrument in instruments), self.node.day(at)
        return tuple(flag for instrument in instruments for flag in _flags(instrument, known, day))


def _contract(delivery: ContractDelivery) -> MaintenanceContract:
    if document_hash(delivery.document) != delivery.document_hash:
        raise DeliveryConflict(
            f"{delivery.contract_id} {delivery.version} is not what its hash says: look at the policy repository"
        )
    try:
        contract = MaintenanceContract.model_validate(delivery.document)
    except ValidationError as error:
        raise DeliveryConflict(
            excerpt(f"{delivery.contract_id} {delivery.version} is no maintenance contract: {faults(error)[0]}")
        ) from error
    if contract.smart_contract_id != delivery.contract_id:
        raise DeliveryConflict(f"{delivery.contract_id} {delivery.version} is {contract.smart_contract_id}")
    return contract


def _held(database: sqlite3.Connection, contract_id: str) -> tuple[int, str | None] | None:
    """Number and version; no version where it is retired."""
    row: tuple[int, str | None] | None = database.execute(
        "SELECT number, version FROM contracts WHERE contract_id = ?", (contract_id,)
    ).fetchone()
    return row


def _put(
    database: sqlite3.Connection, delivery: ContractDelivery, replaced: str | None, contract: MaintenanceContract
) -> None:
    name = delivery.contract_id
    database.execute(
        "INSERT OR REPLACE INTO contracts VALUES (?, ?, ?, ?, ?, ?)",
        (name, delivery.number, delivery.version, replaced, contract.model_dump_json(), delivery.document_hash),
    )
    database.execute("DELETE FROM contract_types WHERE contract_id = ?", (name,))
    database.executemany(
        "INSERT INTO contract_types VALUES (?, ?)", [(kind, name) for kind in set(contract.equipment_types)]
    )


def _in_force(version: str, contract: str) -> ContractInForce:
    return ContractInForce(version=version, contract=MaintenanceContract.model_validate_json(contract))


def _known(database: sqlite3.Connection, name: str) -> Known | None:
    row = database.execute("SELECT line FROM register WHERE equipment_id = ?", (name,)).fetchone()
    if row is None:
        return None
    line = RegisteredItem.model_validate_json(row[0])
    contracts = database.execute(
        "SELECT version, contract FROM contract_types JOIN contracts USING (contract_id)"
        " WHERE equipment_type = ? ORDER BY contract_id",
        (line.item.equipment_type,),
    )
    checks = database.execute("SELECT last_check FROM checks WHERE equipment_id = ?", (name,))
    found = [LastCheck.model_validate_json(text) for (text,) in checks]
    return Known(
        item=line.item,
        last=_newest(line.last_calibration, _own_calibrations(database, name)),
        contracts=tuple(_in_force(*row) for row in contracts),
        checks={(check.contract_id, check.check_type): check for check in found},
    )


def _own_calibrations(database: sqlite3.Connection, name: str) -> list[CalibrationRecord]:
    rows = database.execute("SELECT calibration FROM own_calibrations WHERE equipment_id = ? ORDER BY number", (name,))
    return [CalibrationRecord.model_validate_json(text) for (text,) in rows]


def _newest(hubs: CalibrationRecord | None, own: Iterable[CalibrationRecord]) -> CalibrationRecord | None:
    """Of those of one day it is the one that was recorded last."""
    newest = hubs
    for record in own:
        if newest is None or record.calibrated_on >= newest.calibrated_on:
            newest = record
    return newest


def _is_new(database: sqlite3.Connection, record: CalibrationRecord, last: CalibrationRecord | None) -> bool:
    """Whether its certificate is not known yet; raises `Refused` where it is, with other content."""
    for known in (*_own_calibrations(database, record.equipment_id), *([last] if last else [])):
        if known.certificate_number == record.certificate_number:
            # As JSON: 1.0 and 1.00 are equal as numbers, and not as what was measured.
            if known.model_dump(mode="json") == record.model_dump(mode="json"):
                return False
            raise Refused(
                f"certificate {record.certificate_number} of {record.equipment_id} is recorded with other content:"
                " look at which is right, and record a corrected certificate under its own number"
            )
    return True


def _open_causes(database: sqlite3.Connection, key: tuple[str, str, str]) -> list[str]:
    row = database.execute(
        "SELECT causes FROM checks WHERE equipment_id = ? AND contract_id = ? AND check_type = ?", key
    ).fetchone()
    return row[0].split() if row else []


def _asked(known: Known, check_type: str, contract_id: str | None) -> ContractInForce:
    name = known.item.equipment_id
    asking = {each.contract.smart_contract_id: each for each in known.contracts if each.contract.procedure(check_type)}
    if contract_id is not None:
        asking = {contract_id: asking[contract_id]} if contract_id in asking else {}
    if len(asking) == 1:
        return next(iter(asking.values()))
    if asking:
        raise Refused(f"{', '.join(asking)} ask for {check_type} of {name}: name one with --contract")
    possible = ", ".join(f"{kind} ({each})" for each, kind in known.check_types) or "none at all"
    raise Refused(f"no contract in force asks for {check_type} of {name}; asked for are: {possible}")


def _validation(item: EquipmentItem, found: Standing, day: date) -> dict[str, Any]:
    """As specification 4, `validate_equipment_calibration`, has it."""
    result: dict[str, Any] = {
        "valid": found.calibration_valid,
        "equipment_id": item.equipment_id,
        "description": item.description,
        "status": found.state,
        "last_calibration_date": found.calibrated_on and found.calibrated_on.isoformat(),
        "calibration_certificate": found.certificate_number,
    }
    if found.calibrated_on is not None:
        result["calibration_age_days"] = (day - found.calibrated_on).days
    if found.days_left is not None:
        result["days_remaining" if found.days_left >= 0 else "days_overdue"] = abs(found.days_left)
    if found.missing:
        result["reason"] = "; ".join(found.missing)
    return result


def _calibration_failed(node_id: str, item: EquipmentItem, record: CalibrationRecord) -> ReportedAlert:
    name = item.equipment_id
    found = "found out of tolerance" if record.found_out_of_tolerance else "found within tolerance"
    return ReportedAlert(
        alert_type=IssueType.CALIBRATION_FAILED,
        severity=Severity.HIGH,
        subject=name,
        text=f"{name} at {node_id} failed its calibration of {record.calibrated_on}"
        f" ({record.certificate_number}, {found}): have it adjusted or repaired, and calibrated again",
        cause=cause_of(IssueType.CALIBRATION_FAILED, name),
        issue=MaintenanceIssue(
            issue_type=IssueType.CALIBRATION_FAILED,
            equipment_id=name,
            equipment_type=item.equipment_type,
            node_id=node_id,
            data={"certificate": record.certificate_number, "calibrated_on": record.calibrated_on.isoformat()},
        ),
    )


def _flags(instrument: Instrument, known: Mapping[str, Known], day: date) -> Iterator[str]:
    name = instrument.equipment_id
    if instrument.due_on is not None and instrument.due_on < day:
        yield f"{name} was due for calibration on {instrument.due_on}, before these results were submitted"
    now = known.get(name)
    if now is None:
        return
    if now.item.out_of_service is not None:
        yield f"{name} went out of service before these results were submitted: {now.item.out_of_service}"
    if now.last is not None and now.last.result is CalibrationResult.FAILED:
        yield f"{name} failed its calibration of {now.last.calibrated_on} ({now.last.certificate_number})"
