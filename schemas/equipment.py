"""Instruments and machines: the register's words for them, and where one stands on a day (specification 4).

Where it stands follows from what the register, its calibrations, the contracts of its node and the checks that were
done say, and from the time: whoever has these gets the same answer, with a network or without.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.base import Identifier, Measured, Model, Text, UtcDateTime
from schemas.calibration import WARNING_DAYS, Calibration, CalibrationState, Certificate, calibration
from schemas.maintenance import Condition, Every, MaintenanceContract, Version
from schemas.node import Node


class EquipmentState(StrEnum):
    """Specification 4, "Equipment Calibration States"; `ready` is an instrument that may be used in a test."""

    CURRENT = "current"
    EXPIRING_SOON = "expiring_soon"
    EXPIRED = "expired"
    PENDING_CALIBRATION = "pending_calibration"
    CALIBRATION_FAILED = "calibration_failed"
    OUT_OF_SERVICE = "out_of_service"
    READY = "ready"


class CalibrationResult(StrEnum):
    """Failed: it cannot be used as it was left."""

    PASSED = "passed"
    FAILED = "failed"


_EXACT = Context(prec=200)
"""Loses no digit between any two measured values; that of Python's own operators has 28."""


class AsFound(StrEnum):
    """How a calibration found its instrument, by its readings before it was adjusted."""

    WITHIN_TOLERANCE = "within_tolerance"
    OUT_OF_TOLERANCE = "out_of_tolerance"
    NOT_GIVEN = "not_given"


class CalibrationPoint(Model):
    """One point of a calibration: what was applied, what the instrument showed before and after adjustment, and how
    far it may be off. All in `unit`; `uncertainty` is expanded, k=2 (ISO/IEC 17025, 7.8.4)."""

    name: Annotated[Text, Field(max_length=100)]
    unit: Annotated[Text, Field(max_length=100)]
    reference: Measured
    tolerance: Annotated[Measured, Field(ge=0)]
    as_found: Measured
    as_left: Measured
    uncertainty: Annotated[Measured, Field(ge=0)] | None = None

    @property
    def found_out_of_tolerance(self) -> bool:
        return self._is_off(self.as_found)

    @property
    def left_out_of_tolerance(self) -> bool:
        return self._is_off(self.as_left)

    def _is_off(self, shown: Decimal) -> bool:
        return _EXACT.subtract(shown, self.reference).copy_abs() > self.tolerance


class CalibrationRecord(Model):
    """A calibration as it is recorded, passed or failed; its key is the instrument with the certificate's number.

    `certificate_for` is the instrument that the certificate names. `calibrated_on` is a day where the instrument was.
    `due_on` is what the laboratory says, where it says it; the register's and the contracts' intervals hold beside it.
    `corrects` is the certificate number of the same instrument under which it was written down wrongly: that one stays
    in its history, and counts no more.
    """

    equipment_id: Identifier
    certificate_number: Annotated[Text, Field(max_length=200)]
    certificate_for: Identifier | None = None
    calibrated_on: date
    due_on: date | None = None
    result: CalibrationResult
    points: Annotated[tuple[CalibrationPoint, ...], Field(max_length=200)] = ()
    traceability: Text | None = None
    provider: Text
    technician: Text
    corrects: Annotated[Text, Field(max_length=200)] | None = None

    @property
    def as_found(self) -> AsFound:
        if not self.points:
            return AsFound.NOT_GIVEN
        wrong = any(point.found_out_of_tolerance for point in self.points)
        return AsFound.OUT_OF_TOLERANCE if wrong else AsFound.WITHIN_TOLERANCE

    @property
    def found_out_of_tolerance(self) -> bool:
        return self.as_found is AsFound.OUT_OF_TOLERANCE

    @property
    def puts_in_doubt(self) -> bool:
        """What was measured with it before is in doubt: it was found out of tolerance, or it failed and nobody says how
        it was found."""
        failed = self.result is CalibrationResult.FAILED
        return self.found_out_of_tolerance or (failed and self.as_found is AsFound.NOT_GIVEN)

    @property
    def certificate(self) -> Certificate:
        return Certificate(
            equipment_id=self.certificate_for or self.equipment_id,
            number=self.certificate_number,
            calibrated_on=self.calibrated_on,
        )


class EquipmentItem(Model):
    """One line of the register. `node_id` is where it is now, `home_node` where it belongs.

    `calibration_interval_days` is its own; where contracts name one too, the shortest holds. `out_of_service` says why
    it may not be used. `work_center` is what planning closes meanwhile. `calibration_scheduled_on` says that a
    calibration is arranged.
    """

    equipment_id: Identifier
    equipment_type: Identifier
    description: Text
    node_id: Identifier
    home_node: Identifier
    work_center: Identifier | None = None
    calibration_interval_days: Annotated[int, Field(ge=1, le=36500)] | None = None
    warning_days: Annotated[int, Field(ge=0, le=3650)] = WARNING_DAYS
    out_of_service: Text | None = None
    calibration_scheduled_on: date | None = None


class ContractInForce(Model):
    """A version of a contract that a node executes."""

    version: Version
    contract: MaintenanceContract


class LastCheck(Model):
    """The last time a check was done on an instrument, under one version of its contract."""

    contract_id: Identifier
    version: Version
    check_type: Identifier
    at: UtcDateTime
    passed: bool


class CheckDue(Model):
    """A check that must be done before its instrument is ready."""

    contract_id: Identifier
    version: Version
    check_type: Identifier
    title: Text
    sentence: str


class Standing(Model):
    """Where an instrument stands. `missing` says in sentences why it may not be used; without any it is `ready`.

    `calibration` is its calibration alone: current without dates where nothing asks for one, pending where it failed.
    `days_left` is 0 on the due date, the last day that counts. `due` are its checks that are among what is missing.
    """

    equipment_id: Identifier
    equipment_type: Identifier
    state: EquipmentState
    calibration: CalibrationState
    certificate_number: str | None = None
    calibrated_on: date | None = None
    due_on: date | None = None
    days_left: int | None = None
    missing: tuple[str, ...] = ()
    due: tuple[CheckDue, ...] = ()

    @property
    def ready(self) -> bool:
        return self.state is EquipmentState.READY

    @property
    def calibration_valid(self) -> bool:
        return self.calibration in (CalibrationState.CURRENT, CalibrationState.EXPIRING_SOON)


def standing(
    item: EquipmentItem,
    last: CalibrationRecord | None,
    contracts: Sequence[ContractInForce],
    checks: Mapping[tuple[str, str], LastCheck],
    node: Node,
    at: datetime,
) -> Standing:
    """Where an instrument stands at that time at this node.

    `last` is its newest calibration, passed or failed. `contracts` are those that the node executes; what they ask
    counts for the types that they name. `checks` are the last checks of this instrument by contract and check type.
    """
    name = item.equipment_id
    covering = [each for each in contracts if item.equipment_type in each.contract.equipment_types]
    found = _calibration(item, last, [each.contract for each in covering], node.day(at))
    due = tuple(_due(item, covering, checks, node, at))
    missing = []
    if item.out_of_service is not None:
        missing.append(f"{name} is out of service: {item.out_of_service}")
    if item.node_id != node.node_id:
        missing.append(f"{name} is at {item.node_id}: check it out to {node.node_id} first")
    if found.refusal is not None:
        missing.append(found.refusal)
    missing += [check.sentence for check in due]
    return Standing(
        equipment_id=name,
        equipment_type=item.equipment_type,
        state=_state(item, last, found, ready=not missing),
        calibration=found.state,
        certificate_number=last.certificate_number if last else None,
        calibrated_on=last.calibrated_on if last else None,
        due_on=found.due_on,
        days_left=found.days_left,
        missing=tuple(missing),
        due=due,
    )


def calibration_refusal(record: CalibrationRecord, day: date) -> str | None:
    """Why a calibration cannot be recorded on that day of its node, with what to do; None where it can."""
    name, number = record.equipment_id, record.certificate_number
    if record.certificate_for not in (None, name):
        return f"certificate {number} is for {record.certificate_for}, not for {name}: record it for that instrument"
    if record.calibrated_on > day:
        return f"certificate {number} is dated {record.calibrated_on}, which is not yet: look at its date"
    if record.due_on is not None and record.due_on < record.calibrated_on:
        return f"certificate {number} is due on {record.due_on}, before it was calibrated: look at its dates"
    if record.corrects == number:
        return f"certificate {number} cannot correct itself: give the correction a number of its own"
    wrong = [point.name for point in record.points if point.left_out_of_tolerance]
    if wrong and record.result is CalibrationResult.PASSED:
        return (
            f"certificate {number} says passed and leaves {', '.join(wrong)} out of tolerance: record it as failed, or"
            " look at its readings"
        )
    return None


def shortest_interval(item: EquipmentItem, contracts: Iterable[MaintenanceContract]) -> int | None:
    """In days, of those that the register's line and these contracts name."""
    asked = (item.calibration_interval_days, *(contract.calibration_interval_days for contract in contracts))
    return min((days for days in asked if days is not None), default=None)


def last_day(record: CalibrationRecord, interval_days: int | None) -> date | None:
    """The last day that this calibration counts, by its laboratory and by an interval, whichever comes first.

    None where it failed, or where neither says; a date after the year 9999 is the last day of that year.
    """
    if record.result is CalibrationResult.FAILED:
        return None
    due = [record.due_on] if record.due_on else []
    if interval_days is not None:
        due.append(record.calibrated_on + min(timedelta(days=interval_days), date.max - record.calibrated_on))
    return min(due, default=None)


def _calibration(
    item: EquipmentItem, last: CalibrationRecord | None, contracts: Sequence[MaintenanceContract], day: date
) -> Calibration:
    """Nothing asks for one where contracts cover the type and none of them does, nor the line, nor the laboratory."""
    if last is not None and last.result is CalibrationResult.FAILED:
        return Calibration(
            state=CalibrationState.PENDING_CALIBRATION,
            refusal=f"{item.equipment_id} failed its calibration of {last.calibrated_on} ({last.certificate_number}):"
            " have it adjusted and calibrated again",
        )
    asked = not contracts or any(Condition.MUST_CALIBRATE in contract.conditions for contract in contracts)
    if not asked and item.calibration_interval_days is None and (last is None or last.due_on is None):
        return Calibration(state=CalibrationState.CURRENT)
    return calibration(
        item.equipment_id,
        last.certificate if last else None,
        last_day(last, shortest_interval(item, contracts)) if last else None,
        day,
        max(item.warning_days, *(contract.warning_days for contract in contracts), 0),
    )


def _state(item: EquipmentItem, last: CalibrationRecord | None, found: Calibration, *, ready: bool) -> EquipmentState:
    if item.out_of_service is not None:
        return EquipmentState.OUT_OF_SERVICE
    if last is not None and last.result is CalibrationResult.FAILED:
        return EquipmentState.CALIBRATION_FAILED
    if found.refusal is not None and item.calibration_scheduled_on is not None:
        return EquipmentState.PENDING_CALIBRATION
    return EquipmentState.READY if ready else EquipmentState(found.state)


def _due(
    item: EquipmentItem,
    contracts: Sequence[ContractInForce],
    checks: Mapping[tuple[str, str], LastCheck],
    node: Node,
    at: datetime,
) -> Iterator[CheckDue]:
    """Required checks that were not passed in this shift, day or interval, under the version in force."""
    for each in contracts:
        contract_id = each.contract.smart_contract_id
        for check_type, procedure in each.contract.required_checks.items():
            last = checks.get((contract_id, check_type))
            if last is not None and last.version == each.version and _counts(last.at, procedure.every, node, at):
                if last.passed:
                    continue
                what = "was not passed: mend it and do it again"
            else:
                what = f"is not done {_when(procedure.every)}: do it"
            yield CheckDue(
                contract_id=contract_id,
                version=each.version,
                check_type=check_type,
                title=procedure.title,
                sentence=f"{item.equipment_id}: the check {check_type} of {contract_id} {each.version} {what}",
            )


def _counts(done_at: datetime, every: Every, node: Node, at: datetime) -> bool:
    """Whether a check still counts. One of every so many days counts through its due date, as a calibration does."""
    if every == "shift":
        return node.shift(done_at) == node.shift(at)
    if every == "day":
        return node.day(done_at) == node.day(at)
    return 0 <= (node.day(at) - node.day(done_at)).days <= every


def _when(every: Every) -> str:
    return f"in this {every}" if isinstance(every, str) else f"in the last {every} days"
