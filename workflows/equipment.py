"""One line of the equipment register while somebody asks something of it; it ends when nothing is left to do.

The line is its row, and not this workflow's: each request is judged by what the register says at that moment, because
a node records calibrations of its own.
"""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import workflow

from activities.equipment import EquipmentActivities
from schemas import names
from schemas.alert import Alert
from schemas.base import excerpt
from schemas.equipment import CalibrationRecord, CalibrationResult, EquipmentItem
from schemas.equipment_register import (
    REQUESTS,
    CheckOut,
    EquipmentStart,
    LineAnswer,
    LineAsked,
    LineFound,
    RecordCalibration,
    RegisterEquipment,
    ReturnToService,
    ScheduleCalibration,
    TakeOutOfService,
    calibration_key,
    calibration_metadata,
    calibration_row,
    refusal,
    registration,
)
from schemas.expiry import calibration_causes
from schemas.node_report import calibration_failed
from schemas.record import AlertRaised, AlertResolved, Change, EquipmentChanged, EquipmentEvent
from workflows.book import Book
from workflows.calibration import follow_up, refresh
from workflows.inbox import Inbox, Item, Refused
from workflows.steps import record, step

LINGER = timedelta(seconds=10)
"""How long it stays for a next request, or for the first one's repetition under its `Idempotency-Key`."""


@workflow.defn
class EquipmentWorkflow:
    """Workflow ID `equipment/{equipment_id}`, started by whoever asks first; Temporal's Cancel lets it finish."""

    @workflow.init
    def __init__(self, start: EquipmentStart) -> None:
        self._name = start.equipment_id
        workflow_id = names.equipment_workflow_id(self._name)
        self._book = Book(
            key=workflow_id,
            source=workflow_id,
            action_type="maintenance",
            target=self._name,
            since=workflow.info().workflow_start_time,
        )
        self._inbox = Inbox(signals=REQUESTS, updates=REQUESTS)

    @workflow.run
    async def run(self, start: EquipmentStart) -> None:
        life = asyncio.create_task(self._live())
        try:
            await asyncio.shield(life)
        except asyncio.CancelledError:
            await life

    async def _live(self) -> None:
        while await self._asked():
            await self._handle(self._inbox.next())

    async def _asked(self) -> bool:
        """False when nothing more has come, and everybody has their answer."""
        if workflow.info().is_continue_as_new_suggested() and await self._inbox.drained():
            return False  # whoever asks next starts it anew
        try:
            await workflow.wait_condition(
                lambda: bool(self._inbox), timeout=LINGER, timeout_summary="stays for a next request"
            )
        except TimeoutError:
            return not await self._inbox.drained()
        return True

    async def _handle(self, item: Item) -> None:
        request = item.payload
        if isinstance(request, Refused):
            await self._refuse(item, request.reason)
            return
        if getattr(request, "equipment_id", self._name) != self._name:
            await self._refuse(item, f"this is {self._name}: ask where what you name is")
            return
        found = await step(EquipmentActivities.look_up_line, self._question(request), summary=f"look up {self._name}")
        if reason := refusal(request, found):
            await self._refuse(item, f"{self._name}: {reason}")
            return
        await self._do(item, request, found)

    def _question(self, request: BaseModel) -> LineAsked:
        asked = LineAsked(equipment_id=self._name, at=workflow.now())
        match request:
            case RegisterEquipment(node_id=node_id) | CheckOut(to_node=node_id):
                return asked.model_copy(update={"node_id": node_id})
            case RecordCalibration(certificate_number=number, corrects=corrects):
                return asked.model_copy(update={"certificate_number": number, "corrects": corrects})
        return asked

    async def _do(self, item: Item, request: BaseModel, found: LineFound) -> None:
        match request, found.item:
            case RegisterEquipment(), None:
                await self._register(item, request)
            case RecordCalibration(), EquipmentItem() as line if found.recorded is None:
                await self._calibrate(item, request, found, line)
            case ScheduleCalibration(), EquipmentItem() as line:
                await self._schedule(item, request, line)
            case TakeOutOfService(), EquipmentItem() as line:
                changes = EquipmentChanged(equipment_id=self._name, out_of_service=request.reason)
                details = f"Out of service: {request.reason}"
                await self._event(item, "take_out_of_service", details, request, line, "out_of_service", changes)
            case ReturnToService(), EquipmentItem() as line:
                changes = EquipmentChanged(equipment_id=self._name, out_of_service=None)
                details = f"Back in service: {request.reason}"
                await self._event(item, "return_to_service", details, request, line, "returned", changes)
            case CheckOut(), EquipmentItem() as line:
                await self._check_out(item, request, line)
            case _:  # as it is recorded already
                item.answer(LineAnswer(equipment_id=self._name, changed=False))

    # --- what is asked --------------------------------------------------------------------------------------

    async def _register(self, item: Item, request: RegisterEquipment) -> None:
        new = registration(request, user_id=item.sender(request.user_id))
        await record(new.entry, *new.changes, asked=item.asked)
        await self._done(item, request.node_id)

    async def _calibrate(self, item: Item, request: RecordCalibration, found: LineFound, line: EquipmentItem) -> None:
        calibration = request.calibration
        event = calibration_key(calibration)
        await self._book.enter(
            "record_calibration",
            event,
            excerpt(f"Calibration recorded: {line.description} - Cert: {calibration.certificate_number}"),
            calibration_metadata(calibration, found.last, found.interval_days),
            calibration_row(calibration, line.node_id),
            *self._consequences(event, calibration, found, line),
            user_id=item.sender(request.user_id),
            asked=item.asked,
        )
        stands = await follow_up(self._book, self._book.numbered(event, item), calibration, workflow.now())
        if stands.refusal is not None:
            item.refuse(stands.refusal)
        await self._done(item, line.node_id)

    def _consequences(
        self, event: str, calibration: CalibrationRecord, found: LineFound, line: EquipmentItem
    ) -> list[Change]:
        """Of the newest one: a certificate that comes late is history."""
        if found.last is not None and found.last.calibrated_on > calibration.calibrated_on:
            return []
        if calibration.result is CalibrationResult.PASSED:
            return [AlertResolved(cause=cause) for cause in calibration_causes(self._name)]
        source = names.equipment_workflow_id(self._name)
        failed = calibration_failed(line, calibration, found.contract_id)
        return [AlertRaised(alert=Alert(alert_id=f"{source}:{event}", source=source, **dict(failed)))]

    async def _schedule(self, item: Item, request: ScheduleCalibration, line: EquipmentItem) -> None:
        changes = EquipmentChanged(equipment_id=self._name, calibration_scheduled_on=request.on)
        details = f"Calibration arranged for {request.on}: {request.reason}"
        event = "calibration_scheduled"
        await self._event(item, "schedule_calibration", details, request, line, event, changes, on=str(request.on))

    async def _check_out(self, item: Item, request: CheckOut, line: EquipmentItem) -> None:
        changes = EquipmentChanged(equipment_id=self._name, node_id=request.to_node)
        details = f"Moved from {line.node_id} to {request.to_node}: {request.reason}"
        there = line.model_copy(update={"node_id": request.to_node})
        about = {"from_node": line.node_id, "to_node": request.to_node}
        await self._event(item, "check_out_equipment", details, request, there, "moved", changes, **about)
        await refresh(line.node_id)

    # --- recording ------------------------------------------------------------------------------------------

    async def _event(
        self,
        item: Item,
        action: str,
        details: str,
        request: TakeOutOfService | ReturnToService | ScheduleCalibration | CheckOut,
        line: EquipmentItem,
        event: str,
        change: EquipmentChanged,
        **about: str,
    ) -> None:
        """What can happen again, with the work center that planning closes and opens meanwhile."""
        metadata: dict[str, Any] = {"reason": request.reason, "node_id": line.node_id, "work_center": line.work_center}
        await self._book.enter(
            action,
            self._book.numbered(action, item),
            excerpt(details),
            {**metadata, **about},
            change,
            EquipmentEvent(equipment_id=self._name, event=event, node_id=line.node_id, reason=request.reason),
            user_id=item.sender(request.user_id),
            asked=item.asked,
        )
        await self._done(item, line.node_id)

    async def _done(self, item: Item, node_id: str) -> None:
        await refresh(node_id)
        item.answer(LineAnswer(equipment_id=self._name, changed=True))

    async def _refuse(self, item: Item, reason: str) -> None:
        await self._book.refuse_request(item, reason)
