"""The lines of the equipment register, and the calibrations of each."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Executable, Select, UnaryExpression, exists, or_, select, update

from infra.rows.base import Reason, inserted, updated
from infra.tables.equipment import calibrations, equipment, equipment_events
from schemas.changes.alert import NewestCalibration
from schemas.changes.equipment import (
    CalibrationRecorded,
    ChangeOfEquipment,
    EquipmentChanged,
    EquipmentEvent,
    EquipmentRegistered,
)
from schemas.equipment import CalibrationResult


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


_CORRECTION = calibrations.alias("correction")
COUNTS = ~(
    select(_CORRECTION.c.corrects)
    .where(
        _CORRECTION.c.equipment_id == calibrations.c.equipment_id,
        _CORRECTION.c.corrects == calibrations.c.certificate_number,
    )
    .exists()
)
"""What no other certificate corrects."""

ORDER = (calibrations.c.calibrated_on, calibrations.c.recorded_at, calibrations.c.entry)
"""Of those of one day it counts when each was recorded, here or at its node, and not when that came here."""


def newest_first() -> Iterator[UnaryExpression[Any]]:
    return (column.desc() for column in ORDER)


def newest_calibration(equipment_id: str | ColumnElement[str]) -> Select[Any]:
    """The one that counts; of those of one day it is the one that was recorded last."""
    its_own = calibrations.c.equipment_id == equipment_id
    return select(calibrations).where(its_own, COUNTS).order_by(*newest_first()).limit(1)


def is_newest(calibration: NewestCalibration) -> ColumnElement[bool]:
    """Whether what stands under its certificate is the one that counts, and says so."""
    newest = newest_calibration(calibration.equipment_id).subquery("newest").c
    return exists().where(
        newest.certificate_number == calibration.certificate_number, newest.result == calibration.result
    )


def leaves_good(calibration: NewestCalibration) -> ColumnElement[bool]:
    """Whether the one that counts has passed: what stands under its certificate, or what counts again since that
    corrects another.
    """
    newest = newest_calibration(calibration.equipment_id).subquery("newest").c
    corrects = exists().where(
        calibrations.c.equipment_id == calibration.equipment_id,
        calibrations.c.certificate_number == calibration.certificate_number,
        calibrations.c.corrects.is_not(None),
    )
    return exists().where(
        newest.result == CalibrationResult.PASSED,
        or_(newest.certificate_number == calibration.certificate_number, corrects),
    )


def _registered(change: EquipmentRegistered, reason: Reason) -> Executable:
    revisions = {"revision": reason.revision, "at_node_since": reason.revision}
    new = inserted(equipment, change, **revisions, registered_at=reason.at, updated_at=reason.at)
    return new.on_conflict_do_nothing()


def _changed(change: EquipmentChanged, reason: Reason) -> Executable:
    anew = {"at_node_since": reason.revision} if change.begins_anew else {}
    return updated(equipment, change, reason.at, **anew, revision=reason.revision, updated_at=reason.at)


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
