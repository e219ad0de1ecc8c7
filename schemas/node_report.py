"""What a node did by itself, told to the hub afterwards: in order, once, with the time when it happened."""

from datetime import date, datetime
from typing import Any

from schemas.alert import Severity, cause_of
from schemas.base import Identifier, Model, UtcDateTime, timestamp
from schemas.changes.alert import NewestCalibration
from schemas.equipment import AsFound, CalibrationRecord, CalibrationResult, EquipmentItem, Standing
from schemas.maintenance_alert import IssueType, MaintenanceIssue

_ABOUT_CALIBRATIONS = {
    IssueType.CALIBRATION_FAILED: CalibrationResult.FAILED,
    IssueType.CALIBRATION_EXPIRING: CalibrationResult.PASSED,
    IssueType.CALIBRATION_EXPIRED: CalibrationResult.PASSED,
}
"""Alerts that stand or fall with the calibration whose certificate they name, and how that came out."""


class ReportedAlert(Model):
    """An alert that a node raises; `cause` as in `schemas.alert.Alert`."""

    alert_type: str
    severity: Severity
    subject: str
    text: str
    cause: str
    issue: MaintenanceIssue | None = None

    def entry(self, station_type: str, at: datetime) -> dict[str, Any]:
        """Fields of its ledger entry, as specification 4, `generate_maintenance_alert`, has it."""
        return {
            "action": "generate_alert",
            "target": self.subject,
            "details": f"Maintenance alert: {self.alert_type}",
            "metadata": {
                "alert_type": self.alert_type,
                "severity": self.severity,
                "station_type": station_type,
                "timestamp": timestamp(at),
                "requires_action": True,
                **(self.issue.model_dump(mode="json") if self.issue else {}),
            },
        }


class NodeReport(Model):
    """One ledger entry that a node wrote on its own disk, numbered there without gaps from 1.

    With it comes what the hub must know too: a calibration, an alert, causes of alerts that are gone.
    """

    number: int
    happened_at: UtcDateTime
    action: str
    target: str
    details: str
    user_id: Identifier
    metadata: dict[str, Any]
    calibration: CalibrationRecord | None = None
    alert: ReportedAlert | None = None
    resolved: tuple[str, ...] = ()

    @property
    def newest(self) -> NewestCalibration | None:
        """The calibration by which its alerts stand or fall; the hub may know a newer one."""
        if self.calibration is not None:
            return as_newest(self.calibration)
        issue = self.alert.issue if self.alert else None
        result = _ABOUT_CALIBRATIONS.get(issue.issue_type) if issue else None
        if issue is None or result is None or "certificate" not in issue.data:
            return None
        return NewestCalibration(
            equipment_id=issue.equipment_id, certificate_number=issue.data["certificate"], result=result
        )


class NodeReports(Model):
    """The oldest that the hub has not confirmed, and what the node has of the hub: the revision of its register, and
    for each contract the number of its last delivery or retirement."""

    node_id: Identifier
    reports: tuple[NodeReport, ...]
    register_revision: int
    contracts: dict[Identifier, int]


class RegisteredItem(Model):
    """A line of the register with its newest calibration that counts, and when that was recorded; `revision` is that
    of its last change.

    `at_node_since` is the revision of the change that brought it to its node, or back into service there: a check that
    was done before counts no more.
    """

    revision: int
    at_node_since: int = 0
    item: EquipmentItem
    last_calibration: CalibrationRecord | None
    last_recorded_at: UtcDateTime | None = None


class RegisterPage(Model):
    """Lines that changed after `since`, the oldest change first; a node that takes them has revision `revision`."""

    since: int
    revision: int
    items: tuple[RegisteredItem, ...]


class NodeRef(Model):
    """Names a node."""

    node_id: Identifier


class NodeSyncStart(NodeRef):
    """Input of a `NodeSyncWorkflow`; the others travel through continue-as-new.

    `since` is when this life of the entity began, `signals` how many it had in it.
    """

    since: UtcDateTime | None = None
    signals: int = 0


class RegisterAsked(Model):
    """Lines that changed after a revision."""

    since: int


class LinesNamed(Model):
    """Lines of the register."""

    equipment_ids: tuple[Identifier, ...]


class ReportsConfirmed(Model):
    """The hub has recorded all reports up to this number."""

    up_to: int


def as_newest(record: CalibrationRecord) -> NewestCalibration:
    """What its alerts depend on."""
    return NewestCalibration(**record.model_dump(include=set(NewestCalibration.model_fields)))


def validation(item: EquipmentItem, found: Standing, day: date) -> dict[str, Any]:
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


_AS_FOUND = {
    AsFound.OUT_OF_TOLERANCE: "found out of tolerance",
    AsFound.WITHIN_TOLERANCE: "found within tolerance",
    AsFound.NOT_GIVEN: "as found not given",
}


def calibration_failed(item: EquipmentItem, record: CalibrationRecord, contract_id: str | None) -> ReportedAlert:
    """`contract_id` is the contract that asks for the calibration."""
    name = item.equipment_id
    return ReportedAlert(
        alert_type=IssueType.CALIBRATION_FAILED,
        severity=Severity.HIGH,
        subject=name,
        text=f"{name} failed its calibration of {record.calibrated_on} ({record.certificate_number},"
        f" {_AS_FOUND[record.as_found]}) and may"
        " not be used: have it adjusted and calibrated again, or take it out of service.",
        cause=cause_of(IssueType.CALIBRATION_FAILED, name),
        issue=MaintenanceIssue(
            issue_type=IssueType.CALIBRATION_FAILED,
            contract_id=contract_id,
            equipment_id=name,
            equipment_type=item.equipment_type,
            node_id=item.node_id,
            data={"certificate": record.certificate_number, "as_found": record.as_found},
        ),
    )
