"""Where an instrument stands with its calibration (specification 4, "Equipment Calibration States").

A function of dates only: whoever has the dates and the day gets the same answer, with a network or without.
"""

from datetime import date
from enum import StrEnum

from schemas.base import Identifier, Model, Text

WARNING_DAYS = 30
"""How long before the due date a calibration is expiring soon (specification 4, "Equipment Calibration States")."""


class CalibrationState(StrEnum):
    """Those states of specification 4, "Equipment Calibration States", that follow from dates."""

    PENDING_CALIBRATION = "pending_calibration"
    CURRENT = "current"
    EXPIRING_SOON = "expiring_soon"
    EXPIRED = "expired"


class Certificate(Model):
    """What a laboratory attests: `equipment_id` is the instrument that it names."""

    equipment_id: Identifier
    number: Text
    calibrated_on: date


class Calibration(Model):
    """Where an instrument stands on one day.

    `refusal` says in a sentence why it may not be used; without one it may. `days_left` is 0 on the due date, the last
    day that counts, and below 0 afterwards; while a calibration is pending there is neither.
    """

    state: CalibrationState
    due_on: date | None = None
    days_left: int | None = None
    refusal: str | None = None


def calibration(
    equipment_id: str, certificate: Certificate | None, due_on: date | None, day: date, warning_days: int
) -> Calibration:
    """Where the instrument stands on `day`, the day in its node's time zone.

    The due date is included, as in specification 4, "Example Code Structure", `validate_equipment_calibration`: an age
    up to the interval is valid, and `warning_days` or fewer that remain are expiring soon. A certificate for another
    instrument or of a day that has not come calibrates nothing: the instrument is pending, as it is without one.
    """
    if certificate is None or due_on is None:
        return _pending(f"{equipment_id} has no calibration certificate with its dates")
    if certificate.equipment_id != equipment_id:
        return _pending(
            f"{equipment_id} has the calibration certificate {certificate.number}, which is for"
            f" {certificate.equipment_id}"
        )
    if certificate.calibrated_on > day:
        return _pending(f"{equipment_id} is calibrated on {certificate.calibrated_on}, which is not yet")
    days_left = (due_on - day).days
    if days_left < 0:
        return Calibration(
            state=CalibrationState.EXPIRED,
            due_on=due_on,
            days_left=days_left,
            refusal=f"{equipment_id} was due for calibration on {due_on}",
        )
    state = CalibrationState.EXPIRING_SOON if days_left <= warning_days else CalibrationState.CURRENT
    return Calibration(state=state, due_on=due_on, days_left=days_left)


def _pending(refusal: str) -> Calibration:
    return Calibration(state=CalibrationState.PENDING_CALIBRATION, refusal=refusal)
