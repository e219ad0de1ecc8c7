"""What a test gives: with which instruments it began, its results, and the copy that its node keeps of them."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from schemas.base import Identifier, Measured, Model, Text, UtcDateTime
from schemas.canonical import document_hash

LONGEST_RESULTS = 256 * 1024
"""Bytes (JSON) of all results of a contract: they travel whole in its package, and Temporal takes 2 MB at once."""


class TestVerdict(StrEnum):
    """What a test found."""

    __test__ = False

    ACCEPT = "accept"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class Reading(Model):
    """One measured value with its unit (`1` where it has none)."""

    name: Text
    value: Measured
    unit: Text


class TestResult(Model):
    """What one test gave, and the performer's own word on how it was done."""

    __test__ = False

    test_id: Identifier
    verdict: TestVerdict
    readings: tuple[Reading, ...] = ()
    observations: Text | None = None
    procedure_followed: bool
    deviations: Annotated[Text | None, Field(validate_default=True)] = None

    @model_validator(mode="after")
    def _is_evidence(self) -> Self:
        if not self.readings and self.observations is None:
            raise ValueError("give readings or observations: a bare verdict is no evidence")
        if not self.procedure_followed and self.deviations is None:
            raise ValueError("say in `deviations` how the test departed from its procedure")
        return self


class Instrument(Model):
    """An instrument as it stood in the register when the test began. Dates are those of the node.

    Where no contract asks for its calibration, there need be none.
    """

    equipment_id: Identifier
    equipment_type: Identifier
    certificate: Text | None
    calibrated_on: date | None
    due_on: date | None


class Begun(Model):
    """What is frozen for the results when a test begins: who, with what, by which document, when."""

    performer: Identifier
    started_at: UtcDateTime
    instruments: tuple[Instrument, ...]
    document_hash: str

    def overdue(self, day: date) -> tuple[str, ...]:
        """A sentence for each instrument whose calibration was due before that day."""
        return tuple(
            f"{instrument.equipment_id} was due for calibration on {instrument.due_on}, before results were given on"
            f" {day}"
            for instrument in self.instruments
            if instrument.due_on is not None and instrument.due_on < day
        )


class Results(Model):
    """One submission; tests that it does not name keep what they had."""

    results: Annotated[tuple[TestResult, ...], Field(min_length=1, max_length=200)]

    @field_validator("results")
    @classmethod
    def _each_once(cls, results: tuple[TestResult, ...]) -> tuple[TestResult, ...]:
        if len({result.test_id for result in results}) < len(results):
            raise ValueError("each test_id stands once in a submission")
        return results

    def content_hash(self, smart_contract_id: str) -> str:
        """What the performer declares."""
        return document_hash(
            {"smart_contract_id": smart_contract_id, **self.model_dump(mode="json", include={"results"})}
        )


Flags = Annotated[tuple[Text, ...], Field(exclude_if=lambda flags: not flags)]
"""Sentences on instruments that were not fit any more when results were submitted. Left out where there are none: what
was written before there were any keeps its bytes."""


class KeptResults(Model):
    """A revision of a contract's results, as the node keeps its own copy; `flags` are what the node says of them."""

    smart_contract_id: Identifier
    revision: int
    begun: Begun
    results: tuple[TestResult, ...]
    submitted_by: Identifier
    submitted_at: UtcDateTime
    flags: Flags = ()


class ResultsKept(Model):
    """The node has its copy, with these flags."""

    flags: Flags = ()


class CurrentResult(BaseModel):
    """The results of one test that count, and the revision in which they came."""

    result: TestResult
    revision: int
