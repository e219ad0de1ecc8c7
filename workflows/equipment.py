"""One line of the equipment register while somebody asks something of it; it ends when nothing is left to do.

The line is its row, and not this workflow's: each request is judged by what the register says at that moment, because
a node records calibrations of its own.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import workflow

from activities.equipment import EquipmentActivities
from schemas import names
from schemas.base import excerpt
from schemas.changes.equipment import EquipmentChanged, EquipmentEvent
from schemas.equipment import EquipmentItem
from schemas.equipment_register import (
    REQUESTS,
    AmendEquipment,
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
    alerting,
    calibration_key,
    recording,
    refusal,
    registration,
)
from workflows.book import Book
from workflows.calibration import follow_up
from workflows.inbox import Inbox, Item, Refused
from workflows.steps import record, refresh, step

LINGER = timedelta(seconds=10)
"""How long it stays for a next request, before it is started anew for it."""

ACTIONS: Mapping[type[BaseModel], str] = {
    ScheduleCalibration: "schedule_calibration",
    TakeOutOfService: "take_out_of_service",
    ReturnToService: "return_to_service",
    CheckOut: "check_out_equipment",
    AmendEquipment: "amend_equipment",
}
"""What can happen again and again, and what the ledger calls it."""


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
        await self._inbox.outlive_cancel(self._live(), None)

    async def _live(self) -> None:
        while await self._asked():
            await self._handle(self._inbox.next())

    async def _asked(self) -> bool:
        """False when nothing more has come, and everybody has their answer."""
        if workflow.info().is_continue_as_new_suggested() and await self._inbox.drained():
            return False  # whoever asks next starts it anew
        return await self._inbox.filled(LINGER, "stays for a next request") or not await self._inbox.drained()

    async def _handle(self, item: Item) -> None:
        request = item.payload
        if isinstance(request, Refused):
            await self._book.refuse_request(item, request.reason)
            return
        if getattr(request, "equipment_id", self._name) != self._name:
            await self._book.refuse_request(item, f"this is {self._name}: ask where what you name is")
            return
        question = self._question(item, request)
        found = await step(EquipmentActivities.look_up_line, question, summary=f"look up {self._name}")
        if found.done:
            item.answer(LineAnswer(equipment_id=self._name, changed=True))
        elif reason := refusal(request, found):
            await self._book.refuse_request(item, f"{self._name}: {reason}", looked=True)
        else:
            await self._do(item, request, found)

    def _question(self, item: Item, request: BaseModel) -> LineAsked:
        asked = LineAsked(equipment_id=self._name, at=workflow.now())
        if type(request) in ACTIONS:
            entry = f"{names.equipment_workflow_id(self._name)}:{self._event(item)}"
            asked = asked.model_copy(update={"entry": entry})
        match request:
            case RegisterEquipment(node_id=node_id) | CheckOut(to_node=node_id):
                return asked.model_copy(update={"node_id": node_id})
            case RecordCalibration(calibration=calibration):
                return asked.model_copy(update={"calibration": calibration})
        return asked

    def _event(self, item: Item) -> str:
        """What is asked under an ID is the same event in every life of this workflow: it is done once."""
        action = ACTIONS[type(item.payload)]
        return f"{action}:{item.key}" if item.asked else self._book.numbered(action, item)

    async def _do(self, item: Item, request: BaseModel, found: LineFound) -> None:
        match request, found.item:
            case RegisterEquipment(), None:
                await self._register(item, request)
            case RecordCalibration(), EquipmentItem() as line:
                await self._calibrate(item, request, found, line)
            case ScheduleCalibration(), EquipmentItem() as line:
                await self._schedule(item, request, line)
            case TakeOutOfService(), EquipmentItem() as line:
                changes = EquipmentChanged(equipment_id=self._name, out_of_service=request.reason)
                details = f"Out of service: {request.reason}"
                await self._happened(item, details, request, line, "out_of_service", changes)
            case ReturnToService(), EquipmentItem() as line:
                changes = EquipmentChanged(equipment_id=self._name, out_of_service=None)
                details = f"Back in service: {request.reason}"
                await self._happened(item, details, request, line, "returned", changes)
            case CheckOut(), EquipmentItem() as line:
                await self._check_out(item, request, line)
            case AmendEquipment(), EquipmentItem() as line if request.differs(line):
                await self._amend(item, request, line)
            case _:  # as it is recorded already
                item.answer(LineAnswer(equipment_id=self._name, changed=False))

    # --- what is asked --------------------------------------------------------------------------------------

    async def _register(self, item: Item, request: RegisterEquipment) -> None:
        new = registration(request, user_id=item.sender(request.user_id))
        await record(new.entry, *new.changes, asked=True)
        await self._done(item, request.node_id)

    async def _calibrate(self, item: Item, request: RecordCalibration, found: LineFound, line: EquipmentItem) -> None:
        """What follows is done again for one that is recorded already: whoever recorded it may not have come to it."""
        calibration = request.calibration
        if found.recorded is None:
            by = item.sender(request.user_id)
            new = recording(calibration, line, found, user_id=by)
            await record(new.entry, *new.changes, asked=True)
            if alert := alerting(calibration, line, found, by, workflow.now()):
                await record(alert, asked=True)
        event = self._book.numbered(calibration_key(calibration), item)
        stands = await follow_up(self._book, event, calibration, workflow.now())
        if stands.refusal is None:
            await self._done(item, line.node_id, changed=found.recorded is None)
        else:
            await refresh(line.node_id)
            item.refuse(stands.refusal)

    async def _schedule(self, item: Item, request: ScheduleCalibration, line: EquipmentItem) -> None:
        changes = EquipmentChanged(equipment_id=self._name, calibration_scheduled_on=request.on)
        details = f"Calibration arranged for {request.on}: {request.reason}"
        await self._happened(item, details, request, line, "calibration_scheduled", changes, on=str(request.on))

    async def _amend(self, item: Item, request: AmendEquipment, line: EquipmentItem) -> None:
        changes = EquipmentChanged(equipment_id=self._name, **request.terms)
        before = {name: getattr(line, name) for name in request.terms}
        details = f"Amended {', '.join(request.terms)}: {request.reason}"
        await self._happened(item, details, request, line, "amended", changes, before=before, after=request.terms)

    async def _check_out(self, item: Item, request: CheckOut, line: EquipmentItem) -> None:
        changes = EquipmentChanged(equipment_id=self._name, node_id=request.to_node)
        details = f"Moved from {line.node_id} to {request.to_node}: {request.reason}"
        there = line.model_copy(update={"node_id": request.to_node})
        about = {"from_node": line.node_id, "to_node": request.to_node}
        await self._happened(item, details, request, there, "moved", changes, **about)
        await refresh(line.node_id)

    # --- recording ------------------------------------------------------------------------------------------

    async def _happened(
        self,
        item: Item,
        details: str,
        request: TakeOutOfService | ReturnToService | ScheduleCalibration | CheckOut | AmendEquipment,
        line: EquipmentItem,
        event: str,
        change: EquipmentChanged,
        **about: Any,
    ) -> None:
        """What can happen again, with the work center that planning closes and opens meanwhile.

        By a regular activity, also for a signal: what the look at the register found is kept by then, so that a worker
        that is killed goes on after it, and does not find its own entry in the register.
        """
        metadata: dict[str, Any] = {"reason": request.reason, "node_id": line.node_id, "work_center": line.work_center}
        await self._book.enter(
            ACTIONS[type(request)],
            self._event(item),
            excerpt(details),
            {**metadata, **about},
            change,
            EquipmentEvent(equipment_id=self._name, event=event, **metadata),
            user_id=item.sender(request.user_id),
            asked=True,
        )
        await self._done(item, line.node_id)

    async def _done(self, item: Item, node_id: str, *, changed: bool = True) -> None:
        await refresh(node_id)
        item.answer(LineAnswer(equipment_id=self._name, changed=changed))
