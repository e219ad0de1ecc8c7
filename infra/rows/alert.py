"""The rows of alerts: each change puts what it did into the outbox, in the same statement."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Executable,
    String,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from infra.rows.base import Reason
from infra.rows.equipment import is_newest, leaves_good
from infra.tables.alert import alert_messages, alerts
from schemas.alert import Alert, AlertEvent, AlertState
from schemas.changes.alert import (
    AlertAcknowledged,
    AlertEscalated,
    AlertRaised,
    AlertResolved,
    ChangeOfAlert,
    NewestCalibration,
)
from schemas.maintenance_alert import IssueType, MaintenanceAlert


def statement(change: ChangeOfAlert, reason: Reason) -> Executable:
    match change:
        case AlertRaised():
            return _raised(change, reason)
        case AlertAcknowledged():
            return _acknowledged(change, reason)
        case AlertEscalated():
            return _escalated(change, reason)
        case AlertResolved():
            over = _is_over(change.newest) if change.newest else true()
            return resolved((alerts.c.cause == change.cause) & over, reason)


def _is_over(newest: NewestCalibration) -> ColumnElement[bool]:
    """A failure is, once what counts has passed; what runs out, only by the calibration itself."""
    failed = alerts.c.alert_type == IssueType.CALIBRATION_FAILED
    return or_(failed & leaves_good(newest), ~failed & is_newest(newest))


def _raised(change: AlertRaised, reason: Reason) -> Executable:
    """The partial unique index over the cause decides whether it is new, or counted up."""
    alert, report = change.alert, _report(change.alert, reason)
    values: Mapping[str, Any] = {
        **alert.model_dump(exclude={"issue"}),
        "issue": report and report.model_dump_json(exclude={"alert_id"}),
        "owner": alert.owner or alert.kind.owner,
        "state": AlertState.RAISED,
        "raised_at": reason.at,
        "last_seen": reason.at,
        "owner_since": reason.at,
        "raised_entry": reason.seq,
    }
    known = exists().where(alerts.c.alert_id == alert.alert_id)
    row = select(*(literal(value, alerts.c[name].type) for name, value in values.items())).where(
        ~known, is_newest(change.newest) if change.newest else true()
    )
    raised = (
        insert(alerts)
        .from_select(list(values), row)
        .on_conflict_do_update(
            index_elements=["cause"],
            index_where=text("state <> 'resolved'"),  # no parameter: a generic plan would not find the index
            set_={"count": alerts.c.count + 1, "last_seen": reason.at, "text": alert.text},
        )
        .returning(alerts)
        .cte("raised")
    )
    if report is None:
        return _told(raised, AlertEvent.RAISED, reason.at, raised.c.count == 1)
    return _reported(raised, report, reason.at)


def _report(alert: Alert, reason: Reason) -> MaintenanceAlert | None:
    """What is about maintenance, with the time when it happened, which a node may report late."""
    if alert.issue is None:
        return None
    happened_at = reason.entry.occurred_at or reason.at
    return MaintenanceAlert(**dict(alert.issue), alert_id=alert.alert_id, happened_at=happened_at)


def _reported(alert: CTE, report: MaintenanceAlert, at: datetime) -> Executable:
    """Told of the first one as an alert, and of each repetition by itself, under the ID of its report."""
    first = alert.c.count == 1
    message = select(
        case(
            (first, func.concat(cast(alert.c.number, String), f":{AlertEvent.RAISED}")),
            else_=func.concat(cast(alert.c.number, String), f":{AlertEvent.REPEATED}:", alert.c.count),
        ),
        alert.c.alert_id,
        case((first, AlertEvent.RAISED.value), else_=AlertEvent.REPEATED.value),
        alert.c.owner,
        literal(at, alert_messages.c.occurred_at.type),
        case((first, None), else_=report.model_dump_json()),
    )
    return insert(alert_messages).from_select([*_MESSAGE, "report"], message)


def _acknowledged(change: AlertAcknowledged, reason: Reason) -> Executable:
    """Also where it was resolved a moment before: the row says what the ledger says."""
    acknowledged = (
        update(alerts)
        .where(alerts.c.alert_id == change.alert_id, alerts.c.acknowledged_at.is_(None))
        .values(
            state=case((alerts.c.state == AlertState.RAISED, AlertState.ACKNOWLEDGED), else_=alerts.c.state),
            acknowledged_at=reason.at,
            acknowledged_by=reason.entry.user_id,
            acknowledged_note=change.note,
            acknowledged_entry=reason.seq,
        )
        .returning(alerts)
        .cte("acknowledged")
    )
    return _told(acknowledged, AlertEvent.ACKNOWLEDGED, reason.at)


def _escalated(change: AlertEscalated, reason: Reason) -> Executable:
    """Nobody is told where it was acknowledged or resolved a moment before."""
    escalated = (
        update(alerts)
        .where(alerts.c.alert_id == change.alert_id)
        .values(owner=change.owner, owner_since=reason.at, escalations=change.number)
        .returning(alerts)
        .cte("escalated")
    )
    return _told(escalated, AlertEvent.ESCALATED, reason.at, escalated.c.state == AlertState.RAISED)


def resolved(which: ColumnElement[bool], reason: Reason) -> Executable:
    """All open alerts that are meant; nothing happens where there is none."""
    over = (
        update(alerts)
        .where(which, alerts.c.state != AlertState.RESOLVED)
        .values(
            state=AlertState.RESOLVED,
            resolved_at=reason.at,
            resolved_by=reason.entry.user_id,
            resolved_note=reason.entry.details,
            resolved_entry=reason.seq,
        )
        .returning(alerts)
        .cte("resolved")
    )
    return _told(over, AlertEvent.RESOLVED, reason.at)


def _told(alert: CTE, event: AlertEvent, at: datetime, *conditions: ColumnElement[bool]) -> Executable:
    """An alert escalates more than once; everything else of its life happens once."""
    once = func.concat(cast(alert.c.number, String), f":{event}")
    name = func.concat(once, ":", alert.c.escalations) if event is AlertEvent.ESCALATED else once
    message = select(
        name, alert.c.alert_id, literal(event.value), alert.c.owner, literal(at, alert_messages.c.occurred_at.type)
    ).where(*conditions)
    return insert(alert_messages).from_select(_MESSAGE, message)


_MESSAGE = ["message_id", "alert_id", "event", "owner", "occurred_at"]
