"""The maintenance module of a node: contracts in force, its copy of the register, and what it did by itself.

Everything lies on the node's own disk, and works while all else is away. What a node does is written together with its
report, in one transaction: what was done is told, and what was not done is not.
"""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from infra import node_rows as rows
from infra.node_disk import NodeDisk
from infra.node_outbox import SCHEMA as OUTBOX
from infra.node_outbox import Outbox, counter
from infra.node_rows import Known
from infra.node_watch import SCHEMA as WATCH
from infra.node_watch import ExpiryWatch
from schemas.base import excerpt, timestamp
from schemas.canonical import document_hash
from schemas.equipment import (
    CalibrationRecord,
    CalibrationResult,
    ContractInForce,
    LastCheck,
    Standing,
    calibration_refusal,
)
from schemas.equipment_register import calibration_metadata, same_calibration
from schemas.expiry import ExpiryReport, asking_contract, ended_causes
from schemas.faults import faults
from schemas.maintenance import ContractDelivery, ContractReceipt, ContractRetired, MaintenanceContract
from schemas.maintenance_check import CheckResult, CheckWork, check_alerts, check_causes, execute, unfit
from schemas.node import DeliveryConflict, Node
from schemas.node_report import NodeReports, RegisteredItem, RegisterPage, ReportedAlert, calibration_failed, validation


class Refused(ValueError):
    """What a person asked for cannot be done; says why, and what can be."""


class NodeMaintenance:
    """Over one file, which the worker and the local commands of a node use at once."""

    def __init__(self, node: Node, file: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.node = node
        self._disk = NodeDisk(file, (*rows.SCHEMA, *OUTBOX, *WATCH))
        self._outbox = Outbox(self._disk)
        self._clock = clock

    def close(self) -> None:
        """Lets go of the file."""
        self._disk.close()

    def now(self) -> datetime:
        """By the node's own clock."""
        return self._clock()

    # --- contracts

    def take_contract(self, delivery: ContractDelivery) -> ContractReceipt:
        """Puts a version into force in place of what is there, unless it was retired or a higher number came.

        Raises `DeliveryConflict` for a document that is no contract, or is not what its hash says.
        """
        contract = _contract(delivery)
        with self._disk.writing() as database:
            if not rows.comes_too_late(database, delivery):
                held = rows.held(database, delivery.contract_id)
                replaced = held[1] if held else None
                rows.put(database, delivery, replaced, contract)
                instead = f"instead of {replaced}" if replaced else "for the first time"
                details = f"Loaded {delivery.contract_id} {delivery.version} {instead}"
                self._loaded(database, delivery.contract_id, contract, details)
            return self._receipt(database, delivery.contract_id)

    def retire_contract(self, retired: ContractRetired) -> ContractReceipt:
        """Puts this delivery out of force, or keeps it out where it has not come; any other one stays as it is.

        Where the order says so, what it took over from is in force again, in the same step.
        """
        name = retired.contract_id
        with self._disk.writing() as database:
            if rows.retire(database, retired):
                back = rows.restore(database, name) if retired.restores else None
                instead = f"{name} {back.version} again" if back else f"{name} no more"
                self._loaded(database, name, back.contract if back else None, f"Executes {instead}: retired")
            return self._receipt(database, name)

    def contracts(self) -> tuple[ContractInForce, ...]:
        """Those in force, by ID."""
        with self._disk.reading() as database:
            found = database.execute(
                "SELECT version, contract FROM contracts WHERE version IS NOT NULL ORDER BY contract_id"
            )
            return tuple(rows.in_force(*row) for row in found)

    def _receipt(self, database: sqlite3.Connection, contract_id: str) -> ContractReceipt:
        query = "SELECT number, version, document_hash, replaced FROM contracts WHERE contract_id = ?"
        number, version, hash_, replaced = database.execute(query, (contract_id,)).fetchone() or (None,) * 4
        return ContractReceipt(
            node_id=self.node.node_id,
            contract_id=contract_id,
            number=number,
            version=version,
            document_hash=hash_,
            replaced=replaced,
        )

    def _loaded(
        self, database: sqlite3.Connection, contract_id: str, contract: MaintenanceContract | None, details: str
    ) -> None:
        """Reports what is in force now; what the contract does not ask any more is no cause of an alert any more."""
        in_force = database.execute(
            "SELECT contract_id, version FROM contracts WHERE version IS NOT NULL ORDER BY contract_id"
        ).fetchall()
        dropped = []
        for equipment_id, equipment_type, check_type, causes in rows.checks_of(database, contract_id):
            if contract is None or not contract.asks(check_type, equipment_type):
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

    def register_revision(self) -> int:
        """Up to which change the node knows the register."""
        with self._disk.reading() as database:
            return counter(database, "register")

    # --- reports

    def reports(self) -> NodeReports:
        """The oldest that the hub has not confirmed, as much as goes into one message, and what the node has."""
        with self._disk.reading() as database:
            revision = counter(database, "register")
            contracts = dict(database.execute("SELECT contract_id, number FROM contracts").fetchall())
        return NodeReports(
            node_id=self.node.node_id,
            reports=self._outbox.oldest(),
            register_revision=revision,
            contracts=contracts,
        )

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
            found = {name: rows.known(database, name) for name in equipment_ids}
        return {name: known for name, known in found.items() if known is not None}

    def here(self) -> dict[str, Known]:
        """All that are at this node, by ID."""
        with self._disk.reading() as database:
            here = database.execute(
                "SELECT equipment_id FROM register WHERE node_id = ? ORDER BY equipment_id", (self.node.node_id,)
            ).fetchall()
        return self.known(name for (name,) in here)

    def _at_hand(self, database: sqlite3.Connection, name: str) -> Known:
        """What a person works on here; raises `Refused`."""
        known = rows.known(database, name)
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
            if not _is_new(record, before):
                return before.standing(self.node, at)
            if refusal := calibration_refusal(record, self.node.day(at)) or _corrects_nothing(record, before):
                raise Refused(refusal)
            after = replace(before, calibrations=(*before.calibrations, record))
            good = after.last != before.last and after.standing(self.node, at).calibration_valid
            number = self._outbox.append(
                database,
                happened_at=at,
                action="record_calibration",
                target=name,
                details=f"Calibration recorded: {before.item.description} - Cert: {record.certificate_number}",
                user_id=person,
                metadata=calibration_metadata(record, before.last, before.interval_days),
                calibration=record,
                resolved=ended_causes(record, good),
            )
            database.execute(
                "INSERT INTO own_calibrations VALUES (?, ?, ?, ?)",
                (number, name, timestamp(at), record.model_dump_json()),
            )
            if record.result is CalibrationResult.FAILED and after.last == record:
                self._alert(
                    database,
                    at,
                    person,
                    calibration_failed(before.item, record, asking_contract(before.item, before.contracts)),
                )
            return self._validated(database, name, at)

    def validate_calibration(self, equipment_id: str) -> Standing:
        """Where an instrument stands, as a person asked and the ledger will say; raises `Refused`."""
        with self._disk.writing() as database:
            self._at_hand(database, equipment_id)
            return self._validated(database, equipment_id, self._clock())

    def _validated(self, database: sqlite3.Connection, name: str, at: datetime) -> Standing:
        known = self._at_hand(database, name)
        found = known.standing(self.node, at)
        validated = validation(known.item, found, self.node.day(at))
        self._outbox.append(
            database,
            happened_at=at,
            action="validate_calibration",
            target=name,
            details=f"Calibration check: {known.item.description} - {validated['status']}",
            user_id="system",
            metadata=validated,
        )
        return found

    # --- checks

    def asked(self, equipment_id: str, check_type: str, contract_id: str | None = None) -> ContractInForce:
        """The contract in force that asks for this check of this instrument; raises `Refused` unless there is one."""
        with self._disk.reading() as database:
            return _asked(self._at_hand(database, equipment_id), check_type, contract_id)

    def check(
        self,
        equipment_id: str,
        check_type: str,
        work: CheckWork,
        contract_id: str | None = None,
        version: str | None = None,
    ) -> CheckResult:
        """Executes a check and keeps how it came out; raises `Refused` for what is no such check, or does not fit it.

        `version` is the one whose steps somebody saw and did: another one may ask for something else. What is wrong
        with it is alerted, once for each cause, until the check is passed again.
        """
        at = self._clock()
        with self._disk.writing() as database:
            known = self._at_hand(database, equipment_id)
            each = _asked(known, check_type, contract_id)
            if version not in (None, each.version):
                raise Refused(
                    f"{each.contract.smart_contract_id} {version} was replaced by {each.version} meanwhile: do the"
                    " check again by its steps"
                )
            procedure = each.contract.procedure(check_type)
            if procedure and (faults := list(unfit(procedure.steps, work))):
                raise Refused("; ".join(faults))
            result = execute(each, equipment_id, check_type, work, at)
            alerts = list(check_alerts(self.node.node_id, known.item, each.contract, result))
            still = {alert.cause for alert in alerts}
            key = (equipment_id, result.contract_id, check_type)
            over = {*check_causes(equipment_id, each.contract, check_type), *rows.open_causes(database, key)} - still
            self._outbox.append(
                database,
                happened_at=at,
                action="execute_check",
                target=equipment_id,
                details=f"Maintenance check: {check_type} - {'SUCCESS' if result.success else 'FAILED'}",
                user_id=work.person,
                metadata={**result.model_dump(mode="json"), "success": result.success},
                resolved=tuple(sorted(over)),
            )
            last = LastCheck(
                contract_id=result.contract_id,
                version=each.version,
                check_type=check_type,
                at=at,
                passed=result.success,
            )
            database.execute(
                "INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?, ?, ?)",
                (*key, last.model_dump_json(), " ".join(sorted(still)), known.at_node_since),
            )
            for alert in alerts:
                self._alert(database, at, work.person, alert)
            return result

    # --- the daily watch

    def check_expiry(self, at: datetime) -> ExpiryReport:
        """Which calibrations run out; reminds of each at its steps. Once for a day: again, it answers what it found."""
        return ExpiryWatch(self.node, self._disk, self._outbox, self._alert).look(self.here(), at)

    def _alert(
        self,
        database: sqlite3.Connection,
        at: datetime,
        person: str,
        alert: ReportedAlert,
        resolved: tuple[str, ...] = (),
    ) -> None:
        """`resolved` are causes in whose place it comes."""
        entry = alert.entry(self.node.station_type, at)
        self._outbox.append(database, happened_at=at, user_id=person, alert=alert, resolved=resolved, **entry)


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


def _is_new(record: CalibrationRecord, before: Known) -> bool:
    """Whether its certificate is not known yet; raises `Refused` where it is, with other content."""
    for known in before.calibrations:
        if known.certificate_number == record.certificate_number:
            if same_calibration(known, record):
                return False
            raise Refused(
                f"certificate {record.certificate_number} of {record.equipment_id} is recorded with other content:"
                " look at which is right, and record a corrected certificate under its own number, which names this one"
                " in `corrects`"
            )
    return True


def _corrects_nothing(record: CalibrationRecord, before: Known) -> str | None:
    """Of older certificates than the newest the node knows nothing."""
    if record.corrects in {None, *(known.certificate_number for known in before.calibrations)}:
        return None
    return (
        f"certificate {record.corrects} of {record.equipment_id} is not known here: look at its number, or record the"
        " correction at the hub"
    )


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
