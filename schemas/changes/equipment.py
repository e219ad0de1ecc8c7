"""What becomes of the lines of the equipment register, and of the calibrations of each."""

from datetime import date
from typing import Literal

from schemas.base import Model, Partial


class EquipmentRegistered(Model):
    """Inserts a line of the equipment register; nothing happens where it is there."""

    kind: Literal["equipment_registered"] = "equipment_registered"
    equipment_id: str
    equipment_type: str
    description: str
    node_id: str
    home_node: str
    work_center: str | None
    calibration_interval_days: int | None
    warning_days: int


class EquipmentChanged(Partial):
    """Changes columns of one line of the register, which has the next revision from then on."""

    kind: Literal["equipment_changed"] = "equipment_changed"
    equipment_id: str
    description: str | None = None
    node_id: str | None = None
    work_center: str | None = None
    calibration_interval_days: int | None = None
    warning_days: int | None = None
    out_of_service: str | None = None
    calibration_scheduled_on: date | None = None

    @property
    def begins_anew(self) -> bool:
        """It comes to a node, or returns to service there: nobody knows what happened to it since its last check."""
        given = self.model_fields_set
        return "node_id" in given or ("out_of_service" in given and self.out_of_service is None)


class EquipmentEvent(Model):
    """Inserts what happened to an instrument beside calibrations: registered, moved, out of service, back.

    `work_center` is what planning closes and opens with it.
    """

    kind: Literal["equipment_event"] = "equipment_event"
    equipment_id: str
    event: str
    node_id: str
    work_center: str | None = None
    reason: str | None = None


class CalibrationRecorded(Model):
    """Inserts a calibration, and raises the revision of its instrument's line; `calibration` is the whole as JSON."""

    kind: Literal["calibration_recorded"] = "calibration_recorded"
    equipment_id: str
    certificate_number: str
    calibrated_on: date
    due_on: date | None
    result: str
    found_out_of_tolerance: bool
    corrects: str | None = None
    calibration: str
    node_id: str


ChangeOfEquipment = EquipmentRegistered | EquipmentChanged | EquipmentEvent | CalibrationRecorded
