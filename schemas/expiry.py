"""Which calibrations run out, and when people are reminded of it (specification 4, `check_calibration_expiry`).

Within the warning period of an instrument each due date of a certificate is reminded of once at every step; a watch
that missed some makes up for them by the tightest one.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from schemas import names
from schemas.alert import Severity, cause_of
from schemas.base import Identifier, Model, Text, UtcDateTime, excerpt
from schemas.calibration import CalibrationState
from schemas.equipment import CalibrationRecord, ContractInForce, EquipmentItem, EquipmentState, Standing
from schemas.maintenance import Condition
from schemas.maintenance_alert import IssueType, MaintenanceIssue
from schemas.node import Node
from schemas.node_report import ReportedAlert

EXPIRED = 0
EARLY = 31
"""Within a warning period that is longer than the first of the usual steps."""

STEPS = (EXPIRED, 1, 7, 14, 30, EARLY)
"""Days before the due date, the tightest first."""

LISTED = 500
"""Instruments that a report lists, the most urgent first: a ledger entry has to carry it."""

_DESCRIBED = 250
"""Characters of a description that an alert quotes: with its certificate's number they stay below what it can hold
(`schemas.maintenance_alert.SEEN`) in any script."""


class ExpiryLine(Model):
    """An instrument whose calibration runs out, or has."""

    equipment_id: Identifier
    description: Text
    last_calibration: date | None
    days_until_expiry: int
    status: CalibrationState


class ExpiryReport(Model):
    """The specification's expiry report of one node. It counts all instruments with a due date, and lists those that
    are not current."""

    check_timestamp: UtcDateTime
    node_id: Identifier
    expired_count: int
    expiring_soon_count: int
    current_count: int
    equipment_status: tuple[ExpiryLine, ...]

    @property
    def summary(self) -> str:
        return f"Calibration expiry check: {self.expired_count} expired, {self.expiring_soon_count} expiring soon"


def expiry_report(node_id: str, found: Iterable[tuple[EquipmentItem, Standing]], at: datetime) -> ExpiryReport:
    """Of all that the register has at the node."""
    lines = [
        ExpiryLine(
            equipment_id=item.equipment_id,
            description=item.description,
            last_calibration=where.calibrated_on,
            days_until_expiry=where.days_left,
            status=where.calibration,
        )
        for item, where in found
        if where.days_left is not None
    ]
    states = [line.status for line in lines]
    urgent = sorted(
        (line for line in lines if line.status is not CalibrationState.CURRENT),
        key=lambda line: (line.days_until_expiry, line.equipment_id),
    )
    return ExpiryReport(
        check_timestamp=at,
        node_id=node_id,
        expired_count=states.count(CalibrationState.EXPIRED),
        expiring_soon_count=states.count(CalibrationState.EXPIRING_SOON),
        current_count=states.count(CalibrationState.CURRENT),
        equipment_status=tuple(urgent[:LISTED]),
    )


def due_step(where: Standing) -> int | None:
    """The step that the calibration has come to; None before the first, and for what is out of service."""
    if where.state is EquipmentState.OUT_OF_SERVICE:
        return None
    match where.calibration, where.days_left:
        case CalibrationState.EXPIRED, _:
            return EXPIRED
        case CalibrationState.EXPIRING_SOON, int(days_left):
            return next(step for step in STEPS[1:] if days_left <= step or step == EARLY)
        case _:
            return None


def expiry_causes(equipment_id: str) -> tuple[str, ...]:
    """The causes of all alerts that the watch may have raised for an instrument.

    A calibration ends them, and so does a later due date, or the next step, which tells people anew.
    """
    return tuple(
        cause_of(kind, equipment_id) for kind in (IssueType.CALIBRATION_EXPIRED, IssueType.CALIBRATION_EXPIRING)
    )


def calibration_causes(equipment_id: str) -> tuple[str, ...]:
    """The causes of all alerts that a good calibration ends."""
    return (_failed_cause(equipment_id), *expiry_causes(equipment_id))


def ended_causes(record: CalibrationRecord, good: bool) -> tuple[str, ...]:
    """The causes of alerts that a calibration may end: a correction also where it is not `good` itself, because what it
    corrects may be the only one that failed."""
    if good:
        return calibration_causes(record.equipment_id)
    return (_failed_cause(record.equipment_id),) if record.corrects else ()


def _failed_cause(equipment_id: str) -> str:
    return cause_of(IssueType.CALIBRATION_FAILED, equipment_id)


def late_cause(node_id: str) -> str:
    """The cause of the alert of a watch that its node is late for: whatever the node finds ends it."""
    return cause_of("node_late", names.node_watch_id(node_id))


def expiry_alert(
    node: Node, item: EquipmentItem, where: Standing, step: int, contracts: Sequence[ContractInForce]
) -> ReportedAlert:
    """For a step that was not reminded of before."""
    expired = step == EXPIRED
    kind = IssueType.CALIBRATION_EXPIRED if expired else IssueType.CALIBRATION_EXPIRING
    name, days = item.equipment_id, where.days_left or 0
    if expired:
        text = (
            f"{name} was due for calibration on {where.due_on} and may not be used: have it calibrated and record it."
        )
    else:
        text = f"{name} is due for calibration on {where.due_on}, in {days} days: arrange its calibration."
    return ReportedAlert(
        alert_type=kind,
        severity=Severity.HIGH if expired else Severity.MEDIUM,
        subject=name,
        text=text,
        cause=cause_of(kind, name),
        issue=MaintenanceIssue(
            issue_type=kind,
            contract_id=asking_contract(item, contracts),
            equipment_id=name,
            equipment_type=item.equipment_type,
            node_id=node.node_id,
            data={
                "description": excerpt(item.description, _DESCRIBED),
                "certificate": where.certificate_number or "",
                "due_on": str(where.due_on),
                "days_overdue" if expired else "days_remaining": str(abs(days)),
            },
        ),
    )


def asking_contract(item: EquipmentItem, contracts: Sequence[ContractInForce]) -> str | None:
    """The contract that asks for the calibration: of several, the one with the shortest interval."""
    asking = [
        each.contract
        for each in contracts
        if item.equipment_type in each.contract.equipment_types and Condition.MUST_CALIBRATE in each.contract.conditions
    ]
    shortest = sorted(asking, key=lambda each: (each.calibration_interval_days or 36500, each.smart_contract_id))
    return shortest[0].smart_contract_id if shortest else None
