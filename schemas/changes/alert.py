"""What becomes of alerts."""

from typing import Literal

from schemas.alert import Alert
from schemas.base import Model
from schemas.permission import Role


class NewestCalibration(Model):
    """A calibration by which an alert stands or falls, as long as it is the newest of its instrument that counts."""

    equipment_id: str
    certificate_number: str
    result: str


class AlertRaised(Model):
    """Raises an alert and puts it into the outbox; while one of its cause is open, that one is only counted up, and
    where it is about maintenance, the report is told for itself.

    Nothing happens for an `alert_id` that was raised before, or where `newest` is given and is not the newest.
    """

    kind: Literal["alert_raised"] = "alert_raised"
    alert: Alert
    newest: NewestCalibration | None = None


class AlertAcknowledged(Model):
    """The entry's user has seen the alert, and says in its details what is done about it."""

    kind: Literal["alert_acknowledged"] = "alert_acknowledged"
    alert_id: str
    note: str | None


class AlertEscalated(Model):
    """Nobody acknowledged it in time: for the `number`th time it has another owner."""

    kind: Literal["alert_escalated"] = "alert_escalated"
    alert_id: str
    number: int
    owner: Role


class AlertResolved(Model):
    """The cause is gone, as the entry says; nothing happens where no alert of it is open, or where `newest` is given
    and is not the newest, or has failed. Where it corrects another, the newest is whatever counts again since then."""

    kind: Literal["alert_resolved"] = "alert_resolved"
    cause: str
    newest: NewestCalibration | None = None


ChangeOfAlert = AlertRaised | AlertAcknowledged | AlertEscalated | AlertResolved
