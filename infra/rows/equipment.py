"""The lines of the equipment register, and the calibrations of each."""

from sqlalchemy import Executable, update

from infra.rows.base import Reason, inserted, updated
from infra.tables.equipment import calibrations, equipment, equipment_events
from schemas.changes.equipment import (
    CalibrationRecorded,
    ChangeOfEquipment,
    EquipmentChanged,
    EquipmentEvent,
    EquipmentRegistered,
)


def statement(change: ChangeOfEquipment, reason: Reason) -> Executable:
    match change:
        case EquipmentRegistered():
            return _registered(change, reason)
        case EquipmentChanged():
            return _changed(change, reason)
        case EquipmentEvent():
            at, user_id = reason.entry.occurred_at or reason.at, reason.entry.user_id
            return inserted(equipment_events, change, entry=reason.seq, user_id=user_id, occurred_at=at)
        case CalibrationRecorded():
            return _calibrated(change, reason)


def _registered(change: EquipmentRegistered, reason: Reason) -> Executable:
    revisions = {"revision": reason.revision, "at_node_since": reason.revision}
    new = inserted(equipment, change, **revisions, registered_at=reason.at, updated_at=reason.at)
    return new.on_conflict_do_nothing()


def _changed(change: EquipmentChanged, reason: Reason) -> Executable:
    moved = {"at_node_since": reason.revision} if "node_id" in change.model_fields_set else {}
    return updated(equipment, change, reason.at, **moved, revision=reason.revision, updated_at=reason.at)


def _calibrated(change: CalibrationRecorded, reason: Reason) -> Executable:
    """The line has another revision from then on, and a calibration that was arranged has happened."""
    at, user_id = reason.entry.occurred_at or reason.at, reason.entry.user_id
    recorded = (
        inserted(calibrations, change, entry=reason.seq, recorded_by=user_id, recorded_at=at)
        .on_conflict_do_nothing()
        .returning(calibrations.c.equipment_id)
        .cte("recorded")
    )
    return (
        update(equipment)
        .where(equipment.c.equipment_id == recorded.c.equipment_id)
        .values(revision=reason.revision, updated_at=reason.at, calibration_scheduled_on=None)
        .add_cte(recorded)
    )
