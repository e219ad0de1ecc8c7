"""The document that a register begins with: instruments with their certificates, as people write them down.

It says what is not known yet: an instrument that the register has is its own matter from then on.
"""

import logging
from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, field_validator, model_validator

from infra.equipment_register import EquipmentRegister
from infra.ledger import Ledger
from schemas import names
from schemas.base import Identifier, Model, Text, excerpt
from schemas.equipment import CalibrationRecord, CalibrationResult
from schemas.equipment_register import (
    NewEquipment,
    calibration_key,
    calibration_metadata,
    calibration_row,
    registration,
)
from schemas.ledger import LedgerEntry, RecordRefused
from schemas.record import EquipmentChanged, Record

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

    def records(self) -> Iterator[Record]:
        """The entries of the line, in order."""
        new = NewEquipment.model_validate(self.model_dump(include=set(NewEquipment.model_fields)))
        registered = registration(new, user_id="system")
        if self.out_of_service is not None:
            changed = EquipmentChanged(equipment_id=self.equipment_id, out_of_service=self.out_of_service)
            registered = registered.model_copy(update={"changes": (*registered.changes, changed)})
        yield registered
        if self.certificate is not None and self.calibrated_on is not None:
            yield self._calibrated(self.certificate, self.calibrated_on)

    def _calibrated(self, certificate: str, calibrated_on: date) -> Record:
        record = CalibrationRecord(
            equipment_id=self.equipment_id,
            certificate_number=certificate,
            certificate_for=self.certificate_for,
            calibrated_on=calibrated_on,
            due_on=self.due_on,
            result=CalibrationResult.PASSED,
            provider=self.provider,
            technician=self.technician,
        )
        entry = LedgerEntry(
            idempotency_key=f"{names.equipment_workflow_id(self.equipment_id)}:{calibration_key(record)}",
            action_type="maintenance",
            action="record_calibration",
            target=self.equipment_id,
            details=excerpt(f"Calibration recorded: {self.description} - Cert: {certificate}"),
            metadata=calibration_metadata(record, None, self.calibration_interval_days),
        )
        return Record(entry=entry, changes=(calibration_row(record, self.node_id),))


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

    A line of which something else was recorded before stays as it is. Raises `CannotRead`.
    """
    listed = read_document(file)
    known = await register.known(instrument.equipment_id for instrument in listed)
    new = [instrument for instrument in listed if not instrument.is_known(known.get(instrument.equipment_id))]
    for instrument in new:
        try:
            for record in instrument.records():
                await ledger.record(record)
        except RecordRefused as refused:
            log.warning("%s stays as it is registered: %s", instrument.equipment_id, refused)
    return len(new)
