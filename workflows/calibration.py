"""What follows once a calibration is recorded, whoever recorded it: here or, meanwhile, at its node."""

from datetime import datetime

from pydantic import BaseModel
from temporalio import workflow

from activities.equipment import EquipmentActivities
from schemas.alert import cause_of
from schemas.base import excerpt
from schemas.changes.equipment import EquipmentChanged
from schemas.equipment import CalibrationRecord
from schemas.equipment_register import CalibrationAsked, CalibrationFound, same_calibration
from workflows.book import Book
from workflows.reverse_trace import start_trace
from workflows.steps import step

DOUBT_WITHOUT_READINGS = "doubt without readings"
"""Runs from before it trace only what readings show to be out of tolerance."""


class Stands(BaseModel):
    """Whether a calibration stands now (else why not), and where its instrument is."""

    refusal: str | None = None
    node_id: str | None = None


async def follow_up(book: Book, event: str, record: CalibrationRecord, found_at: datetime) -> Stands:
    """Looks at what stands now: of two that came at the same time, one does not, and a person must look.

    Where it stands and puts in doubt what was measured with the instrument, also one that was adjusted since, that is
    traced.
    """
    asked = CalibrationAsked(equipment_id=record.equipment_id, certificate_number=record.certificate_number)
    found = await step(EquipmentActivities.look_up_calibration, asked, summary=f"what stands of {record.equipment_id}")
    if found.recorded is None or not same_calibration(found.recorded, record):
        return Stands(refusal=await _conflict(book, event, record, found), node_id=found.node_id)
    if record.found_out_of_tolerance or (record.puts_in_doubt and workflow.patched(DOUBT_WITHOUT_READINGS)):
        await start_trace(record, found.good_since, found_at)
    return Stands(node_id=found.node_id)


async def _conflict(book: Book, event: str, record: CalibrationRecord, found: CalibrationFound) -> str:
    """What was recorded first stands; its line gets a new revision, so that every node has it as it stands."""
    event = f"calibration_conflict:{event}"
    text = (
        f"Certificate {record.certificate_number} of {record.equipment_id} was recorded twice with different content;"
        " the first stands. Compare both with the certificate, and record what it says under a number of its own."
    )
    cause = cause_of("calibration_conflict", record.equipment_id, excerpt(record.certificate_number, 200))
    await book.enter(
        "calibration_conflict",
        event,
        excerpt(text),
        {
            "refused": record.model_dump(mode="json"),
            "recorded": found.recorded.model_dump(mode="json") if found.recorded else None,
        },
        EquipmentChanged(equipment_id=record.equipment_id),
        book.alert(event, "calibration_conflict", text, cause=cause),
        target=record.equipment_id,
    )
    return f"certificate {record.certificate_number} was recorded a moment ago with other content: look at it"
