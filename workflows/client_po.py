"""The life of a SmartClientPO: held until its part is there, then released to its node (specification 1).

One main loop handles what comes in, one message at a time, and releases when nothing more is missing; the release
itself is told in `workflows.client_po_dispatch`.
"""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.client_po import ClientPOActivities
from activities.node import NodeActivities
from activities.part_arrival import PartArrivalActivities
from schemas import names
from schemas.approval import ApprovalEnded, ApprovalStatus
from schemas.changes.alert import AlertResolved
from schemas.changes.client_po import ClientPOChanged
from schemas.client_po import (
    REQUESTS,
    AcceptQuantityRequest,
    AmendRequest,
    CancelRequest,
    ClientPOStatus,
    HoldRequest,
    ResumeRequest,
    RetryRequest,
    SmartClientPO,
)
from schemas.client_po_life import (
    LATE,
    REFUSED,
    ClientPOEnd,
    ClientPOLife,
    ClientPOStart,
    PartAnnounced,
    PendingAcceptance,
    acceptance_id,
    acceptance_request,
    acceptance_wanted,
    outlook,
    release_failure,
)
from schemas.node import NodeReceipt, PartReady
from schemas.part_arrival import AcceptedQuantity, Allotment, Count, Damage, PORef, Reorder, Revocation, WaitingPO
from schemas.part_line import JoinLine, LineRef, PartArrivalStart
from schemas.request import Request
from schemas.test_execution import TestExecutionStart, TestStatus
from workflows.approval import ask_approval, cancel_approval, outcome_of
from workflows.book import Book
from workflows.client_po_dispatch import Dispatch, row_of
from workflows.decisions import proof_of, verify
from workflows.inbox import Inbox, Item, Refused
from workflows.search_attributes import DUE, search_attributes, show_status
from workflows.steps import ask_node, step, tell

ACCEPTANCE_NEEDS_APPROVAL = "acceptance needs approval"
"""POs that were staged before took an acceptance from one person alone."""
PARTS_ARE_LOOKED_UP = "parts are looked up"
"""POs that were staged before believed whoever told them that their parts are there."""

FROM_THE_LINE: dict[str, type[PORef]] = {
    names.PARTS_CONFIRMED: Allotment,
    names.PARTS_REVOKED: Revocation,
    names.PARTS_COUNTED: Count,
    names.PARTS_DAMAGED: Damage,
}


@workflow.defn
class ClientPOWorkflow:
    """Workflow ID `client-po/{smart_contract_id}`; started by the API after the row and its entry are committed."""

    @workflow.init
    def __init__(self, start: ClientPOStart) -> None:
        self._start = start
        self._po = SmartClientPO.model_validate(start.document)
        self._life = start.life or ClientPOLife.of(self._po)
        name = self._po.smart_contract_id
        self._book = Book(
            key=name,
            source=names.client_po_id(name),
            action_type="handoff",
            target=name,
            metadata={"staging_id": names.staging_id(name), "part_id": self._po.part},
            life=self._life,
        )
        self._announcing: asyncio.Task[None] | None = None
        self._inbox = Inbox(
            signals={
                **REQUESTS,
                **FROM_THE_LINE,
                names.PART_READY: PartReady,
                names.APPROVAL_ENDED: ApprovalEnded,
            },
            updates=REQUESTS,
            refusal=self._life.refusal,
            signals_before=start.signals,
        )
        self._dispatch = Dispatch(start, self._po, self._life, self._book, self._inbox, self._handle)

    @workflow.run
    async def run(self, start: ClientPOStart) -> ClientPOEnd:
        return await self._inbox.outlive_cancel(
            self._live(), CancelRequest(reason="cancelled in Temporal", user_id="temporal")
        )

    async def _live(self) -> ClientPOEnd:
        if self._start.life is None:
            self._show()
            await self._join_line()
        if self._life.ready is not None and not self._life.announced:
            self._announcing = asyncio.create_task(self._announce(self._life.ready))
        while not self._life.ended:
            self._show()
            if self._inbox:
                await self._handle(self._inbox.next())
            elif workflow.info().is_continue_as_new_suggested():
                await self._continue_as_new()
            elif self._life.may_release:
                await self._release()
            else:
                await self._inbox.filled(None)
        self._show()
        while not await self._inbox.drained():
            await self._handle(self._inbox.next())
        status = ClientPOStatus.CANCELLED if self._life.cancelled else ClientPOStatus.RELEASED
        return ClientPOEnd(
            smart_contract_id=self._po.smart_contract_id, status=status, receipt_hash=self._life.receipt_hash
        )

    async def _continue_as_new(self) -> None:
        """A PO of thousands of parts that are scanned one by one has a longer life than one run may have."""
        if await self._inbox.drained():
            kept = {"life": self._life, "signals": self._inbox.signals}
            workflow.continue_as_new(self._start.model_copy(update=kept))

    # --- the line of its part -------------------------------------------------------------------------------

    async def _join_line(self) -> None:
        part = PartArrivalStart(
            part_id=self._po.part_id,
            part_number=None if self._po.part_id else self._po.part_number,
            unclaimed_after=self._start.unclaimed_after,
        )
        waiting = WaitingPO(
            smart_contract_id=self._po.smart_contract_id,
            ticket=self._life.ticket,
            quantity=self._life.needed,
            priority=self._life.priority,
            staged_at=self._start.staged_at,
            place=self._po.arrival_place,
            node=self._po.target_node,
        )
        await step(
            PartArrivalActivities.join_line,
            JoinLine(part=part, po=waiting),
            summary=f"wait for {self._po.part}",
        )

    async def _tell_line(self, signal: str, message: PORef) -> None:
        """The line is open as long as this PO is in it; one that is gone has nothing to be told."""
        await tell(self._line_id, signal, message)

    @property
    def _line_id(self) -> str:
        return names.part_arrival_id(self._po.part_id, self._po.part_number)

    def _ref(self) -> PORef:
        return PORef(smart_contract_id=self._po.smart_contract_id, ticket=self._life.ticket)

    # --- what comes in --------------------------------------------------------------------------------------

    async def _handle(self, item: Item) -> None:
        message = item.payload
        if isinstance(message, Request):
            await self._handle_request(item, message)
        elif isinstance(message, Refused):
            await self._book.refuse_request(item, message.reason)
        elif isinstance(message, ApprovalEnded):
            await self._end_acceptance(item, message)
        elif isinstance(message, PartReady):
            await self._part_ready(item, message)
        elif isinstance(message, PartAnnounced):
            await self._record_announcement(message.ready)
        elif isinstance(message, PORef) and message.ticket == self._life.ticket:
            await self._handle_parts(item, message)

    async def _handle_request(self, item: Item, request: Request) -> None:
        reason = self._life.refusal(request)
        if reason is not None:
            await self._book.refuse_request(item, reason)
            return
        self._life.last_refusal = None
        sender = item.sender(request.user_id)
        match request:
            case HoldRequest():
                await self._hold(item, request.reason, sender)
            case ResumeRequest():
                self._life.hold_reason = None
                await self._record(item, "resume_client_po", f"Resumed: {request.reason}", sender)
            case CancelRequest():
                self._life.cancelled = True
                await self._record(
                    item,
                    "cancel_client_po",
                    f"Cancelled: {request.reason}",
                    sender,
                    row={"pending_approval": None},
                    release_ends=True,
                )
                await self._forget_acceptance("the PO is cancelled")
                await self._tell_line(names.LEAVE, self._ref())
            case RetryRequest():
                self._life.release_error = None
                await self._record(item, "retry_release", f"Retried: {request.reason}", sender, release_ends=True)
            case AmendRequest():
                await self._amend(item, request)
            case AcceptQuantityRequest() if workflow.patched(ACCEPTANCE_NEEDS_APPROVAL):
                await self._ask_acceptance(item, request)
                return
            case AcceptQuantityRequest():
                await self._accept(item, request.quantity or self._life.arrived, request.reason, sender)
        item.answer(self._life)

    async def _hold(self, item: Item, reason: str, user_id: str) -> None:
        self._life.hold(reason)
        self._life.late_at = None
        await self._record(item, "hold_client_po", f"On hold: {reason}", user_id, release_ends=True)

    async def _amend(self, item: Item, request: AmendRequest) -> None:
        before = self._life.model_copy()
        for term, value in request.terms().items():
            setattr(self._life, term, value)
        self._life.delivery_number += 1
        changed = {term: {"before": getattr(before, term), "after": value} for term, value in request.terms().items()}
        await self._record(
            item,
            "amend_client_po",
            f"Amended {', '.join(changed)}: {request.reason}",
            item.sender(request.user_id),
            metadata={"changes": changed, "reason": request.reason},
            row=request.terms(),
        )
        if self._life.due_date != before.due_date:
            due = self._life.due_date
            workflow.upsert_search_attributes([DUE.value_unset() if due is None else DUE.value_set(due)])
        if self._life.priority != before.priority:
            await self._tell_line(names.REORDER, Reorder(**self._ref().model_dump(), priority=self._life.priority))

    async def _ask_acceptance(self, item: Item, request: AcceptQuantityRequest) -> None:
        quantity, name = request.quantity or self._life.arrived, self._po.smart_contract_id
        wanted = acceptance_wanted(name, quantity, self._life.quantity)
        verdict = await verify(request.token, wanted, self._life.tokens)
        decision = verdict.decision
        if decision is None or verdict.refusal is not None:
            await self._book.refuse_decision(item, verdict.refusal or "", verdict.person)
            return
        self._life.acceptances += 1
        asked = acceptance_request(
            self._po,
            self._life.acceptances,
            quantity=quantity,
            reason=request.reason,
            requested_by=decision.person,
        )
        if not await ask_approval(asked):
            await self._book.refuse_decision(
                item, f"{asked.approval_id} exists and was not asked for here", decision.person
            )
            return
        self._life.acceptance = PendingAcceptance(
            approval_id=asked.approval_id, content_hash=asked.content_hash, quantity=quantity
        )
        await self._record(
            item,
            "ask_approval",
            f"Asked that {quantity} of {self._life.quantity} parts be accepted: {request.reason}",
            decision.person,
            metadata={"approval_id": asked.approval_id, **proof_of(decision, request.token)},
            row={"pending_approval": asked.approval_id},
            decided=True,
        )
        item.answer(self._life)

    async def _end_acceptance(self, item: Item, ended: ApprovalEnded) -> None:
        """What the signal says is looked up: anybody can send one. Being told again changes nothing."""
        acceptance, outcome = self._life.acceptance, await outcome_of(ended)
        if acceptance is None and ended.approval_id in self._given_up():
            return
        if (
            acceptance is None
            or outcome is None
            or (acceptance.approval_id, acceptance.content_hash) != (ended.approval_id, outcome.content_hash)
        ):
            if outcome is not None and outcome.wakes == names.client_po_id(self._po.smart_contract_id):
                return
            await self._book.refuse_request(
                item, f"{ended.approval_id} has not ended, or nothing waits for it here", looked=True
            )
            return
        self._life.acceptance = None
        if outcome.status is ApprovalStatus.APPROVED:
            await self._accept(
                item,
                acceptance.quantity,
                outcome.note or "approved",
                outcome.decided_by or "",
                approval={"approval_id": outcome.approval_id, "content_hash": outcome.content_hash},
            )
            return
        await self._record(
            item,
            "keep_quantity",
            f"{acceptance.quantity} parts are not accepted: {ended.approval_id} is {outcome.status}",
            outcome.decided_by or "system",
            metadata={"approval_id": ended.approval_id, "status": outcome.status},
            row={"pending_approval": None},
        )

    def _given_up(self) -> set[str]:
        """Approvals that were asked for here and are not waited for any more."""
        return {acceptance_id(self._po.smart_contract_id, number) for number in range(1, self._life.acceptances + 1)}

    async def _forget_acceptance(self, reason: str) -> None:
        if self._life.acceptance is not None:
            pending, self._life.acceptance = self._life.acceptance, None
            await cancel_approval(pending.approval_id, reason)

    async def _accept(
        self, item: Item, quantity: int, reason: str, user_id: str, *, approval: dict[str, str] | None = None
    ) -> None:
        self._life.accepted_quantity = quantity
        await self._record(
            item,
            "accept_quantity",
            f"{quantity} of {self._life.quantity} parts accepted: {reason}",
            user_id,
            metadata={"accepted": quantity, "ordered": self._life.quantity, "reason": reason, **(approval or {})},
            row={"accepted_quantity": quantity, "pending_approval": None},
        )
        await self._tell_line(names.ACCEPT, AcceptedQuantity(**self._ref().model_dump(), quantity=quantity))

    async def _handle_parts(self, item: Item, message: PORef) -> None:
        match message:
            case Allotment() if not self._life.ended:
                await self._take_parts(item, message)
            case Revocation() if self._life.receipt_hash is not None:
                await self._alert_too_late(item, message.cause, message.reason)
            case Revocation() if not self._life.ended:
                await self._unconfirm(item, message)
            case Count() if not (self._life.ended or self._inbox.holds(Count)):
                await self._count(item, message.arrived)
            case Damage() if self._life.receipt_hash is not None:
                await self._alert_too_late(item, "report_damage", f"the part is {message.condition}")
            case Damage() if not self._life.ended:
                await self._hold(item, f"part {message.condition}", "system")

    async def _take_parts(self, item: Item, told: Allotment) -> None:
        """What the signal says is looked up: anybody can send one."""
        given = told
        if workflow.patched(PARTS_ARE_LOOKED_UP):
            asked = LineRef(line_id=self._line_id, po=self._ref())
            held = await step(PartArrivalActivities.read_held, asked, summary=f"what was given of {self._po.part}")
            if held is None:
                await self._book.refuse_request(item, f"{self._line_id} has given it no parts", looked=True)
                return
            if held.revoked:
                return  # it is about to be told
            given = told.model_copy(update={"shares": held.shares})
        if given.quantity < self._life.needed:
            await self._refuse_parts(item, given)
        else:
            await self._confirm(item, given)

    async def _refuse_parts(self, item: Item, allotment: Allotment) -> None:
        """Fewer are enough only when two persons say so here: whoever told the line did not ask this PO."""
        reason = f"{allotment.quantity} parts were given to it, {self._life.needed} are needed"
        self._life.ticket += 1
        await self._book.refuse_decision(item, reason, "unidentified")
        await self._join_line()

    async def _count(self, item: Item, arrived: int) -> None:
        self._life.arrived = arrived
        await self._record(
            item,
            "count_arrivals",
            f"{arrived} of {self._life.needed} parts are there",
            metadata={"arrived": arrived, "needed": self._life.needed},
            row={"arrived": arrived},
        )

    async def _confirm(self, item: Item, allotment: Allotment) -> None:
        self._life.allotment = allotment
        self._life.arrived = allotment.quantity
        if allotment.damage:
            self._life.hold(f"part {allotment.damage}")
        self._show()
        confirmed = self._life.model_copy(update={"confirmation_recorded": True})
        await self._record(
            item,
            "confirm_arrival",
            f"Physical part {self._po.part} arrival confirmed",
            metadata={
                "broadcast_id": allotment.broadcast_ids[-1],
                "broadcast_ids": list(allotment.broadcast_ids),
                "quantity": allotment.quantity,
                "part_number": self._po.part_number,
            },
            row={
                "status": confirmed.status,
                "arrived": allotment.quantity,
                "arrived_now": True,
                "pending_approval": None,
            },
        )
        self._life.confirmation_recorded = True
        await self._forget_acceptance("all parts are there")
        if allotment.damage:
            await self._record(item, "hold_client_po", f"On hold: part {allotment.damage}")

    async def _unconfirm(self, item: Item, revocation: Revocation) -> None:
        self._life.allotment = None
        self._life.confirmation_recorded = False
        self._life.arrived = 0
        self._life.ticket += 1
        self._life.delivery_number += 1
        self._life.late_at = None
        await self._record(
            item,
            revocation.cause,
            f"Waiting for {self._po.part} again: {revocation.reason}",
            metadata={"reason": revocation.reason},
            row={"arrived": 0, "unconfirmed": True},
            release_ends=True,
        )
        await self._join_line()

    # --- the announcement of its part -----------------------------------------------------------------------

    async def _part_ready(self, item: Item, ready: PartReady) -> None:
        """The first one counts: the Floor Hub says the same again when its answer was lost.

        What the signal says is looked up: anybody can send one.
        """
        if (ready.smart_contract_id, ready.node_id) != (self._po.smart_contract_id, self._po.target_node):
            await self._book.refuse_request(item, f"it is about {ready.smart_contract_id} at {ready.node_id}")
            return
        if self._life.ready is not None or self._life.ended:
            return
        if not await step(ClientPOActivities.is_routed, ready, summary=f"did {ready.package_id} bring it?"):
            await self._book.refuse_request(
                item, f"{ready.package_id} did not bring it from {ready.place}", looked=True
            )
        else:
            self._life.ready = ready
            self._announcing = asyncio.create_task(self._announce(ready))

    async def _announce(self, ready: PartReady) -> None:
        """Beside everything else: a node that is away holds nothing up, and is told when it is back.

        Nobody waits for it. Once the node has taken the PO itself, there is nothing left to announce.
        """
        summary = f"tell {ready.node_id} that {self._po.part} is ready at {ready.place}"
        await ask_node(ready.node_id, NodeActivities.announce_part, ready, summary=summary)
        self._inbox.put(names.PART_READY, names.PART_READY, PartAnnounced(ready=ready))

    async def _record_announcement(self, ready: PartReady) -> None:
        self._life.announced = True
        await self._book.enter(
            "announce_part",
            "announce_part",
            f"{ready.node_id} knows that {self._po.part} is ready for pickup at {ready.place}",
            {"target_node": ready.node_id, "package_id": ready.package_id, "place": ready.place},
        )

    # --- release --------------------------------------------------------------------------------------------

    async def _release(self) -> None:
        receipt = await self._dispatch.until_taken()
        if receipt is None:
            return
        self._life.receipt_hash = receipt.receipt_hash
        allotment = self._life.allotment
        await self._book.enter(
            "release_client_po",
            "release",
            f"SmartClientPO released to {receipt.node_id}",
            {
                "target_node": self._po.target_node,
                "receipt_hash": receipt.receipt_hash,
                "document_hash": self._start.document_hash,
                "broadcast_ids": list(allotment.broadcast_ids) if allotment else [],
            },
            self._row(receipt_hash=receipt.receipt_hash, released_now=True),
            *self._release_ended(),
        )
        await self._start_test(receipt)
        await self._tell_line(names.SETTLE, self._ref())

    def _release_ended(self) -> list[AlertResolved]:
        """Nothing is to be done about failures of a release that is over."""
        return (
            [AlertResolved(cause=release_failure(self._po.smart_contract_id, what)) for what in (LATE, REFUSED)]
            if self._life.failures
            else []
        )

    async def _start_test(self, receipt: NodeReceipt) -> None:
        name = self._po.smart_contract_id
        try:
            await workflow.start_child_workflow(
                "TestExecutionWorkflow",  # by its name: importing it would load it anew for each PO
                TestExecutionStart(
                    smart_contract_id=name,
                    node_id=receipt.node_id,
                    receipt_hash=receipt.receipt_hash,
                    document=self._start.document,
                    document_hash=self._start.document_hash,
                    late_after=self._start.release_alert_after,
                ),
                id=names.test_execution_id(name),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                search_attributes=search_attributes(
                    TestStatus.WAITING, part=self._po.part, node=receipt.node_id, order=self._po.clientpo_id
                ),
                static_summary=f"{name} at {receipt.node_id}",
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("the test of %s runs already", name)

    # --- recording ------------------------------------------------------------------------------------------

    def _row(self, **changes: Any) -> ClientPOChanged:
        return row_of(self._po, self._life, **changes)

    async def _record(
        self,
        item: Item,
        action: str,
        details: str,
        user_id: str = "system",
        *,
        metadata: dict[str, Any] | None = None,
        row: dict[str, Any] | None = None,
        release_ends: bool = False,
        decided: bool = False,
    ) -> None:
        """Records what a message did; the message's key makes the event's.

        What a verified decision did is `decided`: recorded after the workflow task, because the decision may not count
        any more when a worker that was killed verifies it again.
        """
        changes = [self._row(**(row or {})), *(self._release_ended() if release_ends else ())]
        event, asked = self._book.numbered(action, item), item.asked or decided
        await self._book.enter(action, event, details, metadata or {}, *changes, user_id=user_id, asked=asked)

    async def _alert_too_late(self, item: Item, action: str, reason: str) -> None:
        event = self._book.numbered("too_late", item)
        name, node = self._po.smart_contract_id, self._po.target_node
        text = f"{reason}, but PO {name} is already released to {node}: stop its test there."
        alert = self._book.alert(event, "withdrawn_after_release", text)
        await self._book.enter(action, event, text, {"reason": reason}, alert)

    # --- the operator's eye ---------------------------------------------------------------------------------

    def _show(self) -> None:
        life, po = self._life, self._po
        status = life.status
        view = outlook(
            status,
            part=po.part,
            arrived=life.arrived,
            quantity=life.needed,
            place=po.arrival_place,
            node=po.target_node,
            hold_reason=life.hold_reason,
            release_error=life.release_error,
            pending_approval=life.acceptance.approval_id if life.acceptance else None,
        )
        lines = [f"**{status}** · waits for {view.waits_for}", f"Moved on by: {view.moved_on_by}"]
        if not life.ended:
            lines.append('To act, send a signal: `hold`, `resume`, `cancel`, `amend`, `retry` with `{"reason": "why"}`')
        if 0 < life.arrived < life.needed and life.acceptance is None:
            wanted = acceptance_wanted(po.smart_contract_id, life.arrived, life.quantity)
            lines.append(
                f"To ask that {life.arrived} be accepted: `smartfloor decide {wanted.workflow_id} accept_quantity "
                f"--hash {wanted.content_hash}` prints a token; signal `accept_quantity` with "
                f'`{{"reason": "why", "quantity": {life.arrived}, "token": "..."}}`'
            )
        if self._life.last_refusal:
            lines.append(f"⚠ {self._life.last_refusal}")
        workflow.set_current_details("\n\n".join(lines))
        if status is not ClientPOStatus.ARRIVAL_CONFIRMED:
            show_status(status)
