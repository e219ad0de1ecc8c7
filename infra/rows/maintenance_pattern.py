"""The rows of alerts that teach, and of the reviews that they open."""

from sqlalchemy import Executable

from infra.rows.base import Reason, inserted, updated
from infra.tables.maintenance_pattern import maintenance_alerts, maintenance_reviews
from schemas.changes.maintenance_pattern import ChangeOfPattern, MaintenanceAlertReceived, ReviewEnded, ReviewOpened
from schemas.maintenance_pattern import ReviewStatus


def statement(change: ChangeOfPattern, reason: Reason) -> Executable:
    match change:
        case MaintenanceAlertReceived():
            return inserted(maintenance_alerts, change, received_at=reason.at).on_conflict_do_nothing()
        case ReviewOpened():
            return inserted(maintenance_reviews, change, status=ReviewStatus.OPEN, opened_at=reason.at)
        case ReviewEnded():
            return updated(maintenance_reviews, change, reason.at, ended_at=reason.at)
