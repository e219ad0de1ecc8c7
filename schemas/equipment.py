"""Instruments and machines: the register's words for them, and where one stands on a day (specification 4).

Where it stands follows from what the register, its calibrations, the contracts of its node and the checks that were
done say, and from the time: whoever has these gets the same answer, with a network or without.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.base import Identifier, Measured, Model, Text, UtcDateTime
from schemas.calibration import WARNING_DAYS, CalibrationState, Certificate
from schemas.maintenance import MaintenanceContract, Version
from schemas.node import Node


class EquipmentState(StrEnum):
    """Specification 4, "Equipment Calibration States"; `ready` is an instrument that may be used in a test."""

    CURRENT = "current"
    EXPIRING_SOON = "expiring_soon"
    EXPIRED = "expired"
    PENDING_CALIBRATION = "pending_calibration"
    CALIBRATION_FAILED = "calibration_failed"
    OUT_OF_SERVICE = "out_of_service"
    READY = "ready"


class CalibrationResult(StrEnum):
    """Failed: it cannot be used as it was left."""

    PASSED = "passed"
    FAILED = "failed"


class CalibrationPoint(Model):
    """One point of a calibration: what was applied, what the instrument showed before and after adjustment, and how
    far it may be off. All in `unit`; `uncertainty` is expanded, k=2 (ISO/IEC 17025, 7.8.4)."""

    name: Text
    unit: Text
    reference: Measured
    tolerance: Annotated[Measured, Field(ge=0)]
    as_found: Measured
    as_left: Measured
    uncertainty: Annotated[Measured, Field(ge=0)] | None = None

    @property
    def found_out_of_tolerance(self) -> bool:
        return abs(self.as_found - self.reference) > self.tolerance

    @property
    def left_out_of_tolerance(self) -> bool:
        return abs(self.as_left - self.reference) > self.tolerance


class CalibrationRecord(Model):
    """A calibration as it is recorded, passed or failed; its key is the instrument with the certificate's number.

    `certificate_for` is the instrument that the certificate names. `calibrated_on` is a day where the instrument was.
    `due_on` is what the laboratory says, where it says it; the register's and the contracts' intervals hold beside it.
    """

    equipment_id: Identifier
    certificate_number: Annotated[Text, Field(max_length=200)]
    certificate_for: Identifier | None = None
    calibrated_on: date
    due_on: date | None = None
    result: CalibrationResult
    points: Annotated[tuple[CalibrationPoint, ...], Field(max_length=200)] = ()
    traceability: Text | None = None
    provider: Text
    technician: Text

    @property
    def found_out_of_tolerance(self) -> bool:
        """What was measured with it before is in doubt."""
        return any(point.found_out_of_tolerance for point in self.points)

    @property
    def certificate(self) -> Certificate:
        return Certificate(
            equipment_id=self.certificate_for or self.equipment_id,
            number=self.certificate_number,
            calibrated_on=self.calibrated_on,
        )


class EquipmentItem(Model):
    """One line of the register. `node_id` is where it is now, `home_node` where it belongs.

    `calibration_interval_days` is its own; where contracts name one too, the shortest holds. `out_of_service` says why
    it may not be used. `work_center` is what planning closes meanwhile. `calibration_scheduled_on` says that a
    calibration is arranged.
    """

    equipment_id: Identifier
    equipment_type: Identifier
    description: Text
    node_id: Identifier
    home_node: Identifier
    work_center: Identifier | None = None
    calibration_interval_days: Annotated[int, Field(ge=1, le=36500)] | None = None
    warning_days: Annotated[int, Field(ge=0, le=3650)] = WARNING_DAYS
    out_of_service: Text | None = None
    calibration_scheduled_on: date | None = None


class ContractInForce(Model):
    """A version of a contract that a node executes."""

    version: Version
    contract: MaintenanceContract


class LastCheck(Model):
    """The last time a check was done on an instrument, under one version of its contract."""

    contract_id: Identifier
    version: Version
    check_type: Identifier
    at: UtcDateTime
    passed: bool


class Standing(Model):
    """Where an instrument stands. `missing` says in sentences why it may not be used; without any it is `ready`.

    `calibration` is its calibration alone; `days_left` is 0 on the due date, the last day that counts.
    """

    equipment_id: Identifier
    equipment_type: Identifier
    state: EquipmentState
    calibration: CalibrationState
    certificate_number: str | None = None
    calibrated_on: date | None = None
    due_on: date | None = None
    days_left: int | None = None
    missing: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        return self.state is EquipmentState.READY


def standing(
    item: EquipmentItem,
    last: CalibrationRecord | None,
    contracts: Sequence[ContractInForce],
    checks: Mapping[tuple[str, str], LastCheck],
    node: Node,
    at: datetime,
) -> Standing:
    """Where an instrument stands at that time at this node.

    `last` is its newest calibration, passed or failed. `contracts` are those that the node executes for its type,
    `checks` the last checks of this instrument by contract and check type.
    """
    raise NotImplementedError
