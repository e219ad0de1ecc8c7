"""The equipment register as the hub keeps it: what is asked of a line, and when that is refused.

A line changes only through its `EquipmentWorkflow`, and by what its node reports; both look at the register as it is
at that moment. What is refused is refused in a sentence that says what to do.
"""

from datetime import date, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from schemas import names
from schemas.alert import Alert
from schemas.base import Identifier, Model, Partial, Text, UtcDateTime, excerpt
from schemas.calibration import WARNING_DAYS
from schemas.canonical import document_hash
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.changes.equipment import CalibrationRecorded, EquipmentEvent, EquipmentRegistered
from schemas.equipment import CalibrationRecord, CalibrationResult, EquipmentItem, calibration_refusal, last_day
from schemas.expiry import ended_causes
from schemas.ledger import LedgerEntry
from schemas.node_report import as_newest, calibration_failed
from schemas.record import Change, Record
from schemas.request import Reasoned, Request


class NewEquipment(Model):
    """A line for the register, where the instrument is and belongs; the fields are those of `EquipmentItem`."""

    equipment_id: Identifier
    equipment_type: Identifier
    description: Text
    node_id: Identifier
    work_center: Identifier | None = None
    calibration_interval_days: Annotated[int, Field(ge=1, le=36500)] | None = None
    warning_days: Annotated[int, Field(ge=0, le=3650)] = WARNING_DAYS

    @property
    def item(self) -> EquipmentItem:
        return EquipmentItem(home_node=self.node_id, **self.model_dump(include=set(NewEquipment.model_fields)))


class RegisterEquipment(NewEquipment):
    """Takes an instrument into the register."""

    user_id: Identifier = "unidentified"


class RecordCalibration(CalibrationRecord):
    """Records a calibration, passed or failed. `user_id` records it; `technician` did it."""

    user_id: Identifier = "unidentified"

    @property
    def calibration(self) -> CalibrationRecord:
        return CalibrationRecord.model_validate(self.model_dump(exclude={"user_id"}))


class Schedule(Reasoned):
    """A calibration is arranged for that day of the instrument's node."""

    on: date


class ScheduleCalibration(Schedule, Request):
    """Writes down that a calibration is arranged."""


class TakeOutOfService(Request):
    """The instrument is used for no test until it returns."""


class ReturnToService(Request):
    """It may be used again, as far as its calibration and its checks allow."""


class LineAmendment(Reasoned, Partial):
    """Corrects a line: only the fields that are given; None takes a work center or an interval away."""

    description: Text | None = None
    work_center: Identifier | None = None
    calibration_interval_days: Annotated[int, Field(ge=1, le=36500)] | None = None
    warning_days: Annotated[int, Field(ge=0, le=3650)] | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.terms:
            raise ValueError("give at least one of description, work_center, calibration_interval_days, warning_days")
        for name in ("description", "warning_days"):
            if name in self.terms and self.terms[name] is None:
                raise ValueError(f"{name}: every line has one, so give another")
        return self

    @property
    def terms(self) -> dict[str, Any]:
        """The fields that are to change, with their new values."""
        fields = ("description", "work_center", "calibration_interval_days", "warning_days")
        return {name: getattr(self, name) for name in fields if name in self.model_fields_set}


class AmendEquipment(LineAmendment, Request):
    """Corrects what was registered wrongly."""

    def differs(self, line: EquipmentItem) -> bool:
        return any(getattr(line, name) != value for name, value in self.terms.items())

    def changes_work_center(self, line: EquipmentItem) -> bool:
        return self.terms.get("work_center", line.work_center) != line.work_center


class Move(Reasoned):
    """The instrument goes to another node."""

    to_node: Identifier


class CheckOut(Move, Request):
    """It is used there from then on."""


REQUESTS: dict[str, type[Model]] = {
    names.REGISTER: RegisterEquipment,
    names.RECORD_CALIBRATION: RecordCalibration,
    names.SCHEDULE_CALIBRATION: ScheduleCalibration,
    names.TAKE_OUT_OF_SERVICE: TakeOutOfService,
    names.RETURN_TO_SERVICE: ReturnToService,
    names.CHECK_OUT: CheckOut,
    names.AMEND: AmendEquipment,
}
"""Signals and updates of `EquipmentWorkflow`."""


class EquipmentStart(Model):
    """Input of an `EquipmentWorkflow`."""

    equipment_id: Identifier


class LineAsked(Model):
    """What a request wants to know: the line, the calibration and the node that it names.

    `entry` is the idempotency key of what it records.
    """

    equipment_id: Identifier
    at: UtcDateTime
    calibration: CalibrationRecord | None = None
    node_id: Identifier | None = None
    entry: str | None = None


class LineFound(Model):
    """The register at that moment.

    `day` is the day at the instrument's node (at the hub, UTC, where there is no line). `last` is its newest
    calibration that counts beside what the request corrects, `recorded` the one under the certificate that was asked
    for, `counts` whether the one that was asked for makes it calibrated, `corrects_known` whether the one that it
    corrects is recorded. `interval_days` is the shortest that the line and the contracts in force for it name,
    `contract_id` the contract that asks for its calibration. `used_by` are tests that measure with it. `node_known`
    says whether the node that was asked for is in the registry, `done` whether the entry is recorded already.
    `station_type` is that of the instrument's node. (None stands in histories of a time when nobody asked for it.)
    """

    item: EquipmentItem | None
    day: date
    last: CalibrationRecord | None = None
    recorded: CalibrationRecord | None = None
    counts: bool = False
    corrects_known: bool = True
    interval_days: int | None = None
    contract_id: str | None = None
    used_by: tuple[str, ...] = ()
    node_known: bool = True
    done: bool = False
    station_type: str | None = None


class CalibrationAsked(Model):
    """A calibration that was recorded, by its instrument and certificate."""

    equipment_id: Identifier
    certificate_number: str


class CalibrationFound(Model):
    """What stands in the register under a certificate, and what it means for what was measured before.

    `good_since` is the day of the newest earlier calibration that passed: it left the instrument good, also where it
    had found it bad. `node_id` is where the instrument is.
    """

    recorded: CalibrationRecord | None
    good_since: date | None = None
    node_id: Identifier | None = None


class BlockedTests(Model):
    """The contracts whose tests wait for equipment at a node."""

    smart_contract_ids: tuple[str, ...]


class LineAnswer(Model):
    """What whoever asked is told: whether anything was changed, or was so before."""

    equipment_id: str
    changed: bool


def registration(new: NewEquipment, user_id: str) -> Record:
    """The entry of a new line, with its row."""
    workflow_id, item = names.equipment_workflow_id(new.equipment_id), new.item
    return Record(
        entry=LedgerEntry(
            idempotency_key=f"{workflow_id}:register",
            action_type="maintenance",
            action="register_equipment",
            target=new.equipment_id,
            details=excerpt(f"Registered at {new.node_id}: {new.description}"),
            user_id=user_id,
            metadata=item.model_dump(mode="json", exclude={"out_of_service", "calibration_scheduled_on"}),
        ),
        changes=(
            EquipmentRegistered(**item.model_dump(exclude={"out_of_service", "calibration_scheduled_on"})),
            EquipmentEvent(event="registered", **item.model_dump(include={"equipment_id", "node_id", "work_center"})),
        ),
    )


def recording(record: CalibrationRecord, line: EquipmentItem, found: LineFound, user_id: str) -> Record:
    """The entry of a calibration, with its row and with what it means for alerts."""
    number = record.certificate_number
    return Record(
        entry=LedgerEntry(
            idempotency_key=f"{names.equipment_workflow_id(record.equipment_id)}:{calibration_key(record)}",
            action_type="maintenance",
            action="record_calibration",
            target=record.equipment_id,
            details=excerpt(f"Calibration recorded: {line.description} - Cert: {number}"),
            user_id=user_id,
            metadata=calibration_metadata(record, found.last, found.interval_days),
        ),
        changes=(calibration_row(record, line.node_id), *_alerts(record, line, found)),
    )


def _alerts(record: CalibrationRecord, line: EquipmentItem, found: LineFound) -> list[Change]:
    """Of the newest calibration: a certificate that comes late is history. One that does not count ends nothing but
    the failure that it corrects."""
    newest = as_newest(record)
    over: list[Change] = [
        AlertResolved(cause=cause, newest=newest) for cause in ended_causes(record, good=found.counts)
    ]
    if record.result is CalibrationResult.PASSED:
        return over
    source = names.equipment_workflow_id(line.equipment_id)
    failed = calibration_failed(line, record, found.contract_id)
    alert = Alert(alert_id=f"{source}:{calibration_key(record)}", source=source, **dict(failed))
    return [*over, AlertRaised(alert=alert, newest=newest)]


def alerting(
    record: CalibrationRecord, line: EquipmentItem, found: LineFound, user_id: str, at: datetime
) -> LedgerEntry | None:
    """The entry of the alert that `recording` raises; None where it raises none."""
    if _is_history(record, found) or record.result is CalibrationResult.PASSED or found.station_type is None:
        return None
    return LedgerEntry(
        idempotency_key=f"{names.equipment_workflow_id(line.equipment_id)}:generate_alert:{calibration_key(record)}",
        action_type="maintenance",
        user_id=user_id,
        **calibration_failed(line, record, found.contract_id).entry(found.station_type, at),
    )


def _is_history(record: CalibrationRecord, found: LineFound) -> bool:
    """A certificate that comes late, after a newer one."""
    return found.last is not None and found.last.calibrated_on > record.calibrated_on


def calibration_row(record: CalibrationRecord, node_id: str) -> CalibrationRecorded:
    """The row of a calibration; nothing happens where one stands under its certificate."""
    return CalibrationRecorded(
        **record.model_dump(
            include={"equipment_id", "certificate_number", "calibrated_on", "due_on", "result", "corrects"}
        ),
        found_out_of_tolerance=record.found_out_of_tolerance,
        calibration=record.model_dump_json(),
        node_id=node_id,
    )


def calibration_metadata(
    record: CalibrationRecord, previous: CalibrationRecord | None, interval_days: int | None
) -> dict[str, Any]:
    """As specification 4, `record_calibration_event`, has it, with the whole record."""
    due = last_day(record, interval_days)
    return {
        "success": record.result is CalibrationResult.PASSED,
        "equipment_id": record.equipment_id,
        "previous_calibration": str(previous.calibrated_on) if previous else None,
        "new_calibration": str(record.calibrated_on),
        "certificate": record.certificate_number,
        "next_due": str(due) if due else None,
        "calibration": record.model_dump(mode="json"),
    }


def calibration_key(record: CalibrationRecord) -> str:
    """Names the event: an instrument has one calibration under a certificate. Of a length that every key can have."""
    return f"record_calibration:{document_hash({'certificate_number': record.certificate_number})}"


def same_calibration(one: CalibrationRecord, other: CalibrationRecord) -> bool:
    """As it is written: 1.0 and 1.00 are equal as numbers, and not as what was measured."""
    return one.model_dump(mode="json") == other.model_dump(mode="json")


# --- when a request is refused ---------------------------------------------------------------------------------------


def refusal(request: BaseModel, found: LineFound) -> str | None:
    """Why it is not possible, in words for the person who asked; None where it is."""
    if isinstance(request, RegisterEquipment):
        return _of_registering(request, found)
    if found.item is None:
        return "the register does not know it: register it first"
    match request:
        case RecordCalibration():
            return _of_calibrating(request.calibration, found)
        case ScheduleCalibration() if request.on < found.day:
            return f"{request.on} has passed: give a day to come"
        case TakeOutOfService() if found.item.out_of_service is not None:
            return f"it is out of service already: {found.item.out_of_service}"
        case ReturnToService() if found.item.out_of_service is None:
            return "it is not out of service"
        case AmendEquipment() if found.item.out_of_service is not None and request.changes_work_center(found.item):
            work_center = found.item.work_center or "no work center"
            return f"it is out of service with {work_center}: return it first, then correct that"
        case CheckOut():
            return _of_checking_out(request, found, found.item)
    return None


def _of_registering(request: RegisterEquipment, found: LineFound) -> str | None:
    if not found.node_known:
        return f"node {request.node_id} is not in the registry: name one that is"
    if found.item is not None and not registered_as(request, found.item):
        return (
            f"it is registered already, as {found.item.equipment_type} of {found.item.home_node}: give another ID, or"
            " check it out to where it is"
        )
    return None


def registered_as(new: NewEquipment, item: EquipmentItem) -> bool:
    """Whether the line says what this one would; where the instrument is now does not matter."""
    return new.item == item.model_copy(
        update={"node_id": item.home_node, "out_of_service": None, "calibration_scheduled_on": None}
    )


def _of_calibrating(record: CalibrationRecord, found: LineFound) -> str | None:
    if found.recorded is not None:
        if same_calibration(found.recorded, record):
            return None
        return (
            f"certificate {record.certificate_number} is recorded with other content: look at it, and record a"
            " corrected one under a number of its own, which names this one in `corrects`"
        )
    if not found.corrects_known:
        return f"no certificate {record.corrects} is recorded that it could correct: look at its number"
    return calibration_refusal(record, found.day)


def _of_checking_out(request: CheckOut, found: LineFound, item: EquipmentItem) -> str | None:
    if not found.node_known:
        return f"node {request.to_node} is not in the registry: name one that is"
    if request.to_node == item.node_id:
        return f"it is at {item.node_id} already"
    if found.used_by:
        return f"{', '.join(found.used_by)} measures with it: let that test end, or abort it, first"
    return None
