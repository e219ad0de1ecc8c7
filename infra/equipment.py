"""The gate before a test: no test runs on equipment that is missing, not fit, or not calibrated.

Until equipment has records of its own, the gate asks a list in a settings file, which people keep.
"""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Protocol

import yaml
from pydantic import ValidationError, field_validator

from schemas.base import Identifier, Model, Text, excerpt
from schemas.client_po import Equipment, SmartClientPO
from schemas.node import NodeDelivery
from schemas.test_execution import BeginTest, Begun, GateAnswer, Instrument


class Gate(Protocol):
    """Lets a test begin, or says everything that is missing; it never raises for what a person must mend."""

    def begin(self, delivery: NodeDelivery, begin: BeginTest) -> GateAnswer: ...


class ListedInstrument(Model):
    """One line of the list; both dates are included."""

    equipment_id: Identifier
    equipment_type: Identifier
    certificate: Text | None = None
    calibrated_on: date | None = None
    due_on: date | None = None
    fit: bool = False

    def frozen(self, on: date) -> Instrument | str:
        """As results cite it, or why it cannot be used on that day."""
        name = self.equipment_id
        if not self.fit:
            return f"{name} is not fit for use"
        if self.certificate is None or self.calibrated_on is None or self.due_on is None:
            return f"{name} has no calibration certificate with its dates"
        if self.calibrated_on > on:
            return f"{name} is calibrated on {self.calibrated_on}, which is not yet"
        if self.due_on < on:
            return f"{name} was due for calibration on {self.due_on}"
        return Instrument(
            equipment_id=name,
            equipment_type=self.equipment_type,
            certificate=self.certificate,
            calibrated_on=self.calibrated_on,
            due_on=self.due_on,
        )


class _File(Model):
    equipment: tuple[ListedInstrument, ...]

    @field_validator("equipment")
    @classmethod
    def _each_once(cls, listed: tuple[ListedInstrument, ...]) -> tuple[ListedInstrument, ...]:
        if len({instrument.equipment_id for instrument in listed}) < len(listed):
            raise ValueError("each equipment_id stands once in the list")
        return listed


class EquipmentList:
    """A gate over a YAML file, which is read each time it is asked."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def begin(self, delivery: NodeDelivery, begin: BeginTest) -> GateAnswer:
        """Freezes the named instruments where all that the contract needs is among them, and all of them may be used.

        Days are those of UTC.
        """
        try:
            listed = _File.model_validate(yaml.safe_load(self._file.read_text()))
        except (OSError, ValueError, yaml.YAMLError) as error:
            return GateAnswer(missing=(excerpt(f"the equipment list {self._file.name} cannot be read: {error}"),))
        try:
            po = SmartClientPO.model_validate(delivery.document)
        except ValidationError as error:
            return GateAnswer(missing=(excerpt(f"the contract that the node holds cannot be read: {error}"),))

        register = {instrument.equipment_id: instrument for instrument in listed.equipment}
        named = sorted(set(begin.instruments))
        answers = [
            register[name].frozen(begin.at.date()) if name in register else f"{name} is not in the equipment list"
            for name in named
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
