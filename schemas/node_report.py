"""What a node did by itself, told to the hub afterwards: in order, once, with the time when it happened."""

from typing import Any

from schemas.alert import Severity
from schemas.base import Identifier, Model, UtcDateTime
from schemas.equipment import CalibrationRecord, EquipmentItem
from schemas.maintenance_alert import MaintenanceIssue


class ReportedAlert(Model):
    """An alert that a node raises; `cause` as in `schemas.alert.Alert`."""

    alert_type: str
    severity: Severity
    subject: str
    text: str
    cause: str
    issue: MaintenanceIssue | None = None


class NodeReport(Model):
    """One ledger entry that a node wrote on its own disk, numbered there without gaps from 1.

    With it comes what the hub must know too: a calibration, an alert, causes of alerts that are gone.
    """

    number: int
    happened_at: UtcDateTime
    action: str
    target: str
    details: str
    user_id: str
    metadata: dict[str, Any]
    calibration: CalibrationRecord | None = None
    alert: ReportedAlert | None = None
    resolved: tuple[str, ...] = ()


class NodeReports(Model):
    """The oldest that the hub has not confirmed, and the revision of the register that the node has."""

    node_id: Identifier
    reports: tuple[NodeReport, ...]
    register_revision: int


class RegisteredItem(Model):
    """A line of the register with its newest calibration; `revision` is that of its last change."""

    revision: int
    item: EquipmentItem
    last_calibration: CalibrationRecord | None


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


class ReportsConfirmed(Model):
    """The hub has recorded all reports up to this number."""

    up_to: int
