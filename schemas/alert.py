"""Alerts: what a person must see, with what to do about it, and how their life goes on (words of ISA-18.2).

An alert is raised once for one cause, however often that is reported, until it is resolved; then a new report raises
a new one. What is *lasting* (a node that does not answer) returns to normal, and whatever records that resolves the
alert, whether somebody acknowledged it or not. What merely *happened* (a broadcast that cannot be read) never
returns: there, acknowledging says that it was dealt with, and ends the alert.
"""

from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from schemas.base import Model, excerpt
from schemas.maintenance_alert import MaintenanceIssue
from schemas.permission import Role

AlertText = Annotated[str, Field(min_length=1), AfterValidator(lambda text: excerpt(text, 2000))]
"""Cut rather than refused: an alert quotes what may be long, and it must go out."""


class Severity(StrEnum):
    """The last level of the topic `smart/alertbroadcast/{severity}`."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """Open until it is resolved."""

    RAISED = "raised"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class AlertEvent(StrEnum):
    """What others are told of an alert's life; that it was repeated only of maintenance, where each report counts."""

    RAISED = "raised"
    REPEATED = "repeated"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class AlertKind(NamedTuple):
    """Which role must act, and whether the cause lasts until something records that it is gone."""

    owner: Role
    lasting: bool = False


KINDS: dict[str, AlertKind] = {
    "release_failed": AlertKind(Role.SUPERVISOR, lasting=True),
    "arrival_unclaimed": AlertKind(Role.SUPERVISOR, lasting=True),
    "ledger_refused": AlertKind(Role.ADMIN, lasting=True),
    "workflow_task_failing": AlertKind(Role.ADMIN, lasting=True),
    "ledger_broken": AlertKind(Role.ADMIN, lasting=True),
    "ledger_key_missing": AlertKind(Role.ADMIN, lasting=True),
    "not_reconciled": AlertKind(Role.ADMIN, lasting=True),
    "receiver_unreachable": AlertKind(Role.ADMIN, lasting=True),
    "notifier_failing": AlertKind(Role.ADMIN, lasting=True),
    "arrival_refused": AlertKind(Role.SUPERVISOR),
    "request_refused": AlertKind(Role.SUPERVISOR),
    "malformed_broadcast": AlertKind(Role.MAINTENANCE_ENGINEER),
    "withdrawn_after_release": AlertKind(Role.QUALITY_MANAGER),
    "approval_waits": AlertKind(Role.QUALITY_MANAGER, lasting=True),
    "approval_unheard": AlertKind(Role.SUPERVISOR),
    "decision_refused": AlertKind(Role.QUALITY_MANAGER),
    "equipment_not_ready": AlertKind(Role.MAINTENANCE_ENGINEER, lasting=True),
    "signoff_waits": AlertKind(Role.QUALITY_MANAGER, lasting=True),
    "results_rejected": AlertKind(Role.INSPECTOR, lasting=True),
    "node_late": AlertKind(Role.SUPERVISOR, lasting=True),
    "authorization_late": AlertKind(Role.SUPERVISOR, lasting=True),
    "authorization_refused": AlertKind(Role.QUALITY_MANAGER),
    "transfer_failure": AlertKind(Role.SUPERVISOR, lasting=True),
    "contract_missing": AlertKind(Role.SUPERVISOR, lasting=True),
    "disposition_waits": AlertKind(Role.QUALITY_MANAGER, lasting=True),
    "disposition_unheard": AlertKind(Role.SUPERVISOR),
    "calibration_expired": AlertKind(Role.MAINTENANCE_ENGINEER, lasting=True),
    "calibration_expiring": AlertKind(Role.MAINTENANCE_ENGINEER, lasting=True),
    "calibration_failed": AlertKind(Role.MAINTENANCE_ENGINEER, lasting=True),
    "check_failed": AlertKind(Role.MAINTENANCE_ENGINEER, lasting=True),
    "reading_out_of_limits": AlertKind(Role.MAINTENANCE_ENGINEER, lasting=True),
    "calibration_conflict": AlertKind(Role.QUALITY_MANAGER),
    "policy_fault": AlertKind(Role.ADMIN, lasting=True),
    "report_conflict": AlertKind(Role.ADMIN),
    "deployment_late": AlertKind(Role.MAINTENANCE_ENGINEER, lasting=True),
    "deployment_missing": AlertKind(Role.MAINTENANCE_ENGINEER, lasting=True),
    "results_in_doubt": AlertKind(Role.QUALITY_MANAGER, lasting=True),
    "retest_wanted": AlertKind(Role.SUPERVISOR),
    "results_withdrawn": AlertKind(Role.QUALITY_MANAGER),
    "access_refused": AlertKind(Role.ADMIN),
    "workflow_closed": AlertKind(Role.PRODUCTION_MANAGER),
}
"""By `alert_type`. One that is not named here is owned by its severity, and acknowledging ends it."""

OWNERS: dict[Severity, Role] = {
    Severity.LOW: Role.SUPERVISOR,
    Severity.MEDIUM: Role.SUPERVISOR,
    Severity.HIGH: Role.PRODUCTION_MANAGER,
    Severity.CRITICAL: Role.ADMIN,
}


def kind_of(alert_type: str, severity: Severity) -> AlertKind:
    """What holds for alerts of this type."""
    return KINDS.get(alert_type) or AlertKind(OWNERS[severity])


def cause_of(alert_type: str, *what: str) -> str:
    """Names a cause: whoever reports it and whoever knows that it is gone must say the same."""
    return ":".join((alert_type, *what))


class Alert(Model):
    """A report of one cause; `alert_id` names the domain event, so the same event again changes nothing.

    `text` says what happened and what to do. `source` is the process that noticed, `subject` the thing concerned.
    `cause` is given where type and subject alone do not name what has to be done, `owner` where it is another role than
    its type's; `issue` where it is about maintenance.
    """

    alert_id: str
    alert_type: str
    severity: Severity
    source: str
    subject: str
    text: AlertText
    cause: str = Field(default_factory=lambda data: cause_of(data["alert_type"], data["subject"]))
    owner: Role | None = None
    issue: MaintenanceIssue | None = None

    @property
    def kind(self) -> AlertKind:
        return kind_of(self.alert_type, self.severity)
