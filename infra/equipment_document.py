"""The document that a register begins with: instruments with their certificates, as people write them down.

Each start of a main worker takes from it what the register does not know: instruments, and another certificate of one
whose line is still as written here. All else is the register's own matter.
"""

import logging
from collections.abc import Collection
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, field_validator, model_validator

from infra.equipment_register import EquipmentRegister
from infra.ledger import Ledger
from schemas.base import Identifier, Model, Text, excerpt
from schemas.changes.equipment import EquipmentChanged, EquipmentEvent
from schemas.equipment import CalibrationRecord, CalibrationResult, calibration_refusal
from schemas.equipment_register import LineAsked, NewEquipment, recording, registered_as, registration
from schemas.ledger import RecordRefused
from schemas.record import Record

log = logging.getLogger(__name__)


class CannotRead(ValueError):
    """The document is missing, or is none."""


class DocumentedInstrument(NewEquipment):
    """An instrument and, where it has one, its newest certificate; `out_of_service` says why it is not used."""

    certificate: Text | None = None
    certificate_for: Identifier | None = None
    calibrated_on: date | None = None
    due_on: date | None = None
    provider: Text = "not written down"
    technician: Text = "not written down"
    out_of_service: Text | None = None

    @model_validator(mode="after")
    def _whole_certificate(self) -> Self:
        if (self.certificate is None) != (self.calibrated_on is None):
            raise ValueError("give certificate and calibrated_on, or neither")
        return self

    def is_known(self, certificates: Collection[str] | None) -> bool:
        """Whether the register has it, with its certificate; None stands for an instrument that it does not know."""
        return certificates is not None and (self.certificate is None or self.certificate in certificates)

    @property
    def registered(self) -> Record:
        """The entry of its line."""
        new = registration(self, user_id="system")
        if self.out_of_service is None:
            return new
        where = self.model_dump(include={"equipment_id", "node_id", "work_center"})
        out = (
            EquipmentChanged(equipment_id=self.equipment_id, out_of_service=self.out_of_service),
            EquipmentEvent(**where, event="out_of_service", reason=self.out_of_service),
        )
        metadata = {**new.entry.metadata, "out_of_service": self.out_of_service}
        return Record(entry=new.entry.model_copy(update={"metadata": metadata}), changes=(*new.changes, *out))

    @property
    def calibration(self) -> CalibrationRecord | None:
        """What its certificate says."""
        if self.certificate is None or self.calibrated_on is None:
            return None
        return CalibrationRecord(
            equipment_id=self.equipment_id,
            certificate_number=self.certificate,
            certificate_for=self.certificate_for,
            calibrated_on=self.calibrated_on,
            due_on=self.due_on,
            result=CalibrationResult.PASSED,
            provider=self.provider,
            technician=self.technician,
        )


class _Document(Model):
    equipment: Annotated[tuple[DocumentedInstrument, ...], Field(max_length=100_000)]

    @field_validator("equipment")
    @classmethod
    def _each_once(cls, listed: tuple[DocumentedInstrument, ...]) -> tuple[DocumentedInstrument, ...]:
        if len({instrument.equipment_id for instrument in listed}) < len(listed):
            raise ValueError("each equipment_id stands once in the document")
        return listed


def read_document(file: Path) -> tuple[DocumentedInstrument, ...]:
    """Its instruments; raises `CannotRead`."""
    try:
        return _Document.model_validate(yaml.safe_load(file.read_text())).equipment
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CannotRead(excerpt(f"the equipment document {file} cannot be read: {error}")) from error


async def begin_register(file: Path, register: EquipmentRegister, ledger: Ledger) -> int:
    """Registers what the register does not know, once each; answers with how many lines that were.

    A line of which something else was recorded before stays as it is, and a certificate that could not be recorded by
    hand is not recorded from here either: the log says so. Raises `CannotRead`.
    """
    listed = read_document(file)
    known = await register.known(instrument.equipment_id for instrument in listed)
    new = [instrument for instrument in listed if not instrument.is_known(known.get(instrument.equipment_id))]
    for instrument in new:
        try:
            if instrument.equipment_id not in known:
                await ledger.record(instrument.registered)
            if instrument.calibration is not None:
                await _calibrate(instrument, instrument.calibration, register, ledger)
        except RecordRefused as refused:
            log.warning("%s stays as it is registered: %s", instrument.equipment_id, refused)
    return len(new)


async def _calibrate(
    instrument: DocumentedInstrument, record: CalibrationRecord, register: EquipmentRegister, ledger: Ledger
) -> None:
    asked = LineAsked(equipment_id=instrument.equipment_id, at=datetime.now(UTC), calibration=record)
    found = await register.line(asked)
    if found.item is None or not registered_as(instrument, found.item):
        log.warning("%s stays as it is registered: the document says something else", instrument.equipment_id)
    elif refusal := calibration_refusal(record, found.day):
        log.warning("%s is registered without its certificate: %s", instrument.equipment_id, refusal)
    elif found.recorded is None:
        await ledger.record(recording(record, found.item, found, user_id="system"))
