"""The gate before a test: no test runs on equipment that is missing, not fit, or not calibrated.

Until equipment has records of its own, the gate asks a list in a settings file, which people keep.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Protocol, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from schemas.base import Identifier, Model, Text, excerpt
from schemas.calibration import WARNING_DAYS, Calibration, Certificate, calibration
from schemas.client_po import Equipment, SmartClientPO
from schemas.node import NodeDelivery
from schemas.test_execution import BeginTest, Begun, GateAnswer, Instrument


class Gate(Protocol):
    """Lets a test begin, or says everything that is missing; it never raises for what a person must mend."""

    def begin(self, delivery: NodeDelivery, begin: BeginTest) -> GateAnswer: ...

    def flags(self, begun: Begun, at: datetime) -> tuple[str, ...]:
        """Sentences on the instruments of a test that are not fit any more when its results are given."""
        ...


class CannotRead(ValueError):
    """The equipment list is missing, or is none."""


class ListedInstrument(Model):
    """One line of the list: when its calibration is due, as a date or by its interval; the due date is included.

    `certificate_for` is the instrument that the certificate names, where that was written down.
    """

    equipment_id: Identifier
    equipment_type: Identifier
    certificate: Text | None = None
    certificate_for: Identifier | None = None
    calibrated_on: date | None = None
    due_on: date | None = None
    calibration_interval_days: Annotated[int, Field(ge=1, le=36500)] | None = None
    warning_days: Annotated[int, Field(ge=0)] = WARNING_DAYS
    fit: bool = False

    @model_validator(mode="after")
    def _due_once(self) -> Self:
        if self.due_on is not None and self.calibration_interval_days is not None:
            raise ValueError("give due_on or calibration_interval_days, not both")
        return self

    def calibration(self, day: date) -> Calibration:
        """Where it stands on that day."""
        certificate = None
        if self.calibrated_on is not None:
            certificate = Certificate(
                equipment_id=self.certificate_for or self.equipment_id,
                number=self.certificate,
                calibrated_on=self.calibrated_on,
            )
        interval = self.calibration_interval_days
        due = self.due_on if interval is None else timedelta(days=interval)
        return calibration(self.equipment_id, certificate, due, day, self.warning_days)

    def frozen(self, day: date) -> Instrument | str:
        """As results cite it, or why it cannot be used on that day."""
        if not self.fit:
            return f"{self.equipment_id} is not fit for use"
        found = self.calibration(day)
        if found.refusal is not None:
            return found.refusal
        return Instrument.model_validate(
            {
                **self.model_dump(include={"equipment_id", "equipment_type", "certificate", "calibrated_on"}),
                "due_on": found.due_on,
            }
        )


class InstrumentStatus(Calibration):
    """One instrument of the list with its calibration; `fit` is the word of the list."""

    equipment_id: Identifier
    equipment_type: Identifier
    certificate: Text | None
    calibrated_on: date | None
    fit: bool


class EquipmentStatus(Model):
    """All instruments of the list, in its order, on one day."""

    day: date
    equipment: tuple[InstrumentStatus, ...]


class _File(Model):
    equipment: tuple[ListedInstrument, ...]

    @field_validator("equipment")
    @classmethod
    def _each_once(cls, listed: tuple[ListedInstrument, ...]) -> tuple[ListedInstrument, ...]:
        if len({instrument.equipment_id for instrument in listed}) < len(listed):
            raise ValueError("each equipment_id stands once in the list")
        return listed


class EquipmentList:
    """A gate over a YAML file, which is read each time it is asked. Days are those of the node's time zone."""

    def __init__(self, file: Path, zone: tzinfo = UTC) -> None:
        self._file = file
        self._zone = zone

    def status(self, at: datetime) -> EquipmentStatus:
        """Where each instrument stands at that time; raises `CannotRead`."""
        day = at.astimezone(self._zone).date()
        listed = (
            InstrumentStatus(
                equipment_id=line.equipment_id,
                equipment_type=line.equipment_type,
                certificate=line.certificate,
                calibrated_on=line.calibrated_on,
                fit=line.fit,
                **dict(line.calibration(day)),
            )
            for line in self._read()
        )
        return EquipmentStatus(day=day, equipment=tuple(listed))

    def begin(self, delivery: NodeDelivery, begin: BeginTest) -> GateAnswer:
        """Freezes the named instruments where all that the contract needs is among them, and all of them may be used.

        A calibration that is expiring soon lets the test begin.
        """
        try:
            register = {instrument.equipment_id: instrument for instrument in self._read()}
        except CannotRead as error:
            return GateAnswer(missing=(str(error),))
        try:
            po = SmartClientPO.model_validate(delivery.document)
        except ValidationError as error:
            return GateAnswer(missing=(excerpt(f"the contract that the node holds cannot be read: {error}"),))

        day = begin.at.astimezone(self._zone).date()
        named = sorted(set(begin.instruments))
        answers = [
            register[name].frozen(day) if name in register else f"{name} is not in the equipment list" for name in named
        ]
        missing = [answer for answer in answers if isinstance(answer, str)]
        chosen = [register[name] for name in named if name in register]
        missing += _uncovered((item for test in po.tests for item in test.equipment), named, chosen)
        if missing:
            return GateAnswer(missing=tuple(missing))
        return GateAnswer(
            begun=Begun(
                performer=begin.performer,
                started_at=begin.at,
                instruments=tuple(answer for answer in answers if isinstance(answer, Instrument)),
                document_hash=delivery.document_hash,
            )
        )

    def flags(self, begun: Begun, at: datetime) -> tuple[str, ...]:
        """Those whose due date has passed since, and those that are out of use."""
        day = at.astimezone(self._zone).date()
        try:
            unfit = {instrument.equipment_id for instrument in self._read() if not instrument.fit}
        except CannotRead:
            unfit = set()
        return (
            *begun.overdue(day),
            *(
                f"{instrument.equipment_id} was not fit for use when results were given"
                for instrument in begun.instruments
                if instrument.equipment_id in unfit
            ),
        )

    def _read(self) -> tuple[ListedInstrument, ...]:
        try:
            return _File.model_validate(yaml.safe_load(self._file.read_text())).equipment
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise CannotRead(excerpt(f"the equipment list {self._file.name} cannot be read: {error}")) from error


def _uncovered(needed: Iterable[Equipment], named: Iterable[str], chosen: Iterable[ListedInstrument]) -> Iterable[str]:
    """What the contract needs and nobody named, each once."""
    types = {instrument.equipment_id: instrument.equipment_type for instrument in chosen}
    for equipment_id, equipment_type in dict.fromkeys((item.equipment_id, item.equipment_type) for item in needed):
        if equipment_id is None:
            if equipment_type not in types.values():
                yield f"the contract needs a {equipment_type}, and none is named"
        elif equipment_id not in named:
            yield f"the contract needs {equipment_id}, which is not named"
        elif equipment_type is not None and types.get(equipment_id, equipment_type) != equipment_type:
            yield f"the contract needs {equipment_id} as {equipment_type}, and it is a {types[equipment_id]}"
