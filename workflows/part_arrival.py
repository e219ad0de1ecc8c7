"""Matches the arrivals of one part, or part number, with the POs that wait for it: an entity that lives on.

Gateway and API reach it with their arrivals, POs with their place in the line, all by signal-with-start, so
neither can come too early. The rules are `schemas.part_line.PartLine`; this workflow tells the outcome: first
the PO that is concerned, then the ledger.
"""

import asyncio
from collections.abc import Iterable
from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow

from schemas import names
from schemas.alert import Severity, cause_of
from schemas.approval import ApprovalEnded, ApprovalStatus
from schemas.base import timestamp
from schemas.canonical import document_hash
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.part_arrival import (
    IDLE,
    AcceptedQuantity,
    ArrivalOutcome,
    Held,
    PartArrival,
    PendingWithdrawal,
    PORef,
    Reorder,
    ReportedArrival,
    Revocation,
    RevocationCause,
    WaitingPO,
    WithdrawArrival,
    withdrawal_request,
    withdrawal_wanted,
)
from schemas.part_line import Lot, PartArrivalStart, PartLine, Withdrawn
from schemas.record import Change
from workflows.approval import ask_approval, how_to_answer, outcome_of
from workflows.book import Book
from workflows.decisions import proof_of, verify
from workflows.inbox import Inbox, Item, Refused
from workflows.search_attributes import show_status
from workflows.steps import tell

SIGNALS: dict[str, type[BaseModel]] = {
    names.ARRIVE: ReportedArrival,
    names.JOIN: WaitingPO,
    names.LEAVE: PORef,
    names.SETTLE: PORef,
    names.REORDER: Reorder,
    names.ACCEPT: AcceptedQuantity,
    names.WITHDRAW: WithdrawArrival,
    names.APPROVAL_ENDED: ApprovalEnded,
}

WITHDRAWAL_NEEDS_APPROVAL = "withdrawal after release needs approval"
"""Lines that were open before took a withdrawal from one person alone."""


UNTIL_NOTHING_IS_LEFT = "unclaimed until nothing is left"
"""Lines that were open before left it to the POs to say that an arrival is claimed."""


@workflow.defn
class PartArrivalWorkflow:
    """Workflow ID `part/{part_id}` or `part-number/{part_number}`; ends after seven days with nothing to do.

    Temporal's Cancel is refused: it would lose what is in stock and who waits.
    """

    @workflow.init
    def __init__(self, start: PartArrivalStart) -> None:
        self._start = start
        self._id = names.part_arrival_id(start.part_id, start.part_number)
        self._part = start.part_id or start.part_number or ""
        self._since = start.since or workflow.info().workflow_start_time
        self._book = Book(key=self._id, source=self._id, action_type="arrival", target=self._part, since=self._since)
        self._withdrawals = dict(start.withdrawals)
        self._tokens = list(start.tokens)
        self._line = start.line or PartLine(single=start.part_id is not None)
        self._inbox = Inbox(signals=SIGNALS, updates={names.WITHDRAW: WithdrawArrival}, signals_before=start.signals)
        self._last_message = workflow.now()
        self._clock_rang = False

    @workflow.run
    async def run(self, start: PartArrivalStart) -> None:
        reason = "arrivals and POs would be lost: withdraw an arrival, or cancel a PO, instead"
        await self._inbox.outlive_cancel(self._live(), Refused(reason=reason), name="Temporal's Cancel")

    async def _live(self) -> None:
        clock = asyncio.create_task(self._clock())
        if self._start.line is not None:
            self._show()
        while not await self._done():
            await workflow.wait_condition(lambda: bool(self._inbox) or self._clock_rang)
            if self._inbox:
                self._last_message = workflow.now()
                item = self._inbox.next()
                await self._handle(item)
                await self._follow_up_unclaimed(item)
                self._show()
            else:
                await self._report_unclaimed()
                self._clock_rang = False
                clock = asyncio.create_task(self._clock())
            if workflow.info().is_continue_as_new_suggested() and await self._inbox.drained():
                self._continue_as_new()
        clock.cancel()

    def _continue_as_new(self) -> None:
        self._line.forget(workflow.now())
        kept = {
            "since": self._since,
            "line": self._line,
            "signals": self._inbox.signals,
            "withdrawals": self._withdrawals,
            "tokens": tuple(self._tokens),
        }
        workflow.continue_as_new(self._start.model_copy(update=kept))

    async def _done(self) -> bool:
        quiet = workflow.now() - self._last_message >= IDLE
        return quiet and self._line.idle and not self._withdrawals and await self._inbox.drained()

    async def _clock(self) -> None:
        """Rings when an arrival may have to be reported, or when the entity may have nothing left to do."""
        now = workflow.now()
        after = timedelta(seconds=self._start.unclaimed_after)
        rings = min(now + IDLE, now + after, self._line.next_report(after) or now + IDLE)
        await workflow.sleep(max(rings - now, timedelta(seconds=1)), summary="look for unclaimed arrivals")
        self._clock_rang = True

    @workflow.query(name=names.HELD)
    def held(self, po: PORef) -> Held | None:
        """What this PO was given under its ticket."""
        return self._line.held(po)

    # --- what comes in --------------------------------------------------------------------------------------

    async def _handle(self, item: Item) -> None:
        match item.payload:
            case ReportedArrival() as reported:
                await self._arrive(item, reported)
            case WithdrawArrival() as withdrawal:
                released = self._line.released_with(withdrawal.broadcast_id)
                if released and workflow.patched(WITHDRAWAL_NEEDS_APPROVAL):
                    await self._ask_withdrawal(item, withdrawal, released)
                else:
                    await self._withdraw(item, withdrawal)
            case ApprovalEnded() as ended:
                await self._end_withdrawal(item, ended)
            case Refused() as refused:
                await self._book.refuse_request(item, refused.reason)
            case WaitingPO() as po:
                self._line.join(po)
                await self._match()
            case Reorder() as change:
                self._line.reorder(change)
                await self._match()
            case AcceptedQuantity() as change:
                self._line.accept(change)
                await self._match()
            case Revocation() as unheard:
                await self._after_the_end(item, unheard)
            case PORef() as ref if item.name == names.SETTLE:
                self._line.settle(ref, workflow.now())
                await self._match()
            case PORef() as ref:
                self._line.leave(ref.smart_contract_id)
                await self._match()

    async def _arrive(self, item: Item, reported: ReportedArrival) -> None:
        arrival = reported.arrival
        outcome = self._line.arrive(reported, workflow.now())
        once = f"{outcome.value}:{document_hash(arrival.model_dump(mode='json'))}"
        changes: list[Change] = []
        match outcome:
            case ArrivalOutcome.COUNTED:
                await self._revoke(item, self._line.moved_away())
                changes += await self._tell_damage(item, arrival)
                await self._match()
            case ArrivalOutcome.TRACKING:
                changes += await self._tell_damage(item, arrival)
            case ArrivalOutcome.OUT_OF_WINDOW:
                text = (
                    f"broadcast {arrival.id} is dated {arrival.timestamp.isoformat()}: too old, or ahead of the clock, "
                    "to be matched. Look whether the part is there and scan it again with a new ID."
                )
                changes.append(self._book.alert(once, "arrival_refused", text, arrival.id))
        await self._book.enter(
            outcome.value,
            self._book.numbered(outcome.value, item) if outcome is ArrivalOutcome.DUPLICATE else once,
            f"{arrival.quantity} of {self._part} at {arrival.location}, condition {arrival.condition}",
            {
                "broadcast_id": arrival.id,
                "part_id": arrival.part_id,
                "part_number": arrival.part_number,
                "quantity": arrival.quantity,
                "location": arrival.location,
                "condition": arrival.condition,
                "at_node": reported.at_node,
            },
            *changes,
            user_id=reported.user_id,
            occurred_at=arrival.timestamp,
        )

    async def _withdraw(self, item: Item, withdrawal: WithdrawArrival, *, approval_id: str | None = None) -> None:
        withdrawn = self._line.withdraw(withdrawal.broadcast_id, withdrawal.reason)
        if withdrawn is None:
            await self._book.refuse_request(item, f"no arrival {withdrawal.broadcast_id} of {self._part} is known here")
            return
        await self._revoke(item, withdrawn.revocations)
        changes = [
            self._released_alert(item, name, f"arrival {withdrawal.broadcast_id} was withdrawn")
            for name in withdrawn.released
        ]
        await self._match()
        await self._book.enter(
            "withdraw_arrival",
            self._book.numbered("withdraw_arrival", item),
            f"Arrival {withdrawal.broadcast_id} withdrawn: {withdrawal.reason}",
            {
                "broadcast_id": withdrawal.broadcast_id,
                "reason": withdrawal.reason,
                "waiting_again": [r.smart_contract_id for r in withdrawn.revocations],
                "already_released": list(withdrawn.released),
                **({"approval_id": approval_id} if approval_id else {}),
            },
            *changes,
            user_id=withdrawal.user_id if approval_id else item.sender(withdrawal.user_id),
            asked=item.asked,
        )
        item.answer(withdrawn)

    async def _ask_withdrawal(self, item: Item, withdrawal: WithdrawArrival, released: tuple[str, ...]) -> None:
        """The part is being tested: taking its arrival back stops that, so one person alone cannot."""
        if any(pending.withdrawal.broadcast_id == withdrawal.broadcast_id for pending in self._withdrawals.values()):
            await self._book.refuse_request(item, "an approval for it is asked already")
            return
        wanted = withdrawal_wanted(self._id, withdrawal.broadcast_id)
        verdict = await verify(withdrawal.token, wanted, self._tokens)
        decision = verdict.decision
        if decision is None or verdict.refusal is not None:
            reason = f"it was released with {', '.join(released)}: {verdict.refusal}"
            await self._book.refuse_decision(item, reason, verdict.person)
            return
        asked = withdrawal_request(
            self._id,
            withdrawal,
            released,
            number=f"{timestamp(self._since)}:{item.key}",
            requested_by=decision.person,
        )
        if not await ask_approval(asked):
            await self._book.refuse_decision(
                item, f"{asked.approval_id} exists and was not asked for here", decision.person
            )
            return
        self._withdrawals[asked.approval_id] = PendingWithdrawal(
            withdrawal=withdrawal, released=released, content_hash=asked.content_hash
        )
        await self._book.enter(
            "ask_approval",
            self._book.numbered("ask_approval", item),
            f"Asked that arrival {withdrawal.broadcast_id} be withdrawn: {withdrawal.reason}",
            {
                "approval_id": asked.approval_id,
                "broadcast_id": withdrawal.broadcast_id,
                **proof_of(decision, withdrawal.token),
            },
            user_id=decision.person,
            asked=True,  # recorded after the task: verified again later, the decision may not count any more
        )
        item.answer(Withdrawn(released=released, approval_id=asked.approval_id))

    async def _end_withdrawal(self, item: Item, ended: ApprovalEnded) -> None:
        """What the signal says is looked up: anybody can send one. Being told again changes nothing."""
        outcome, pending = await outcome_of(ended), self._withdrawals.get(ended.approval_id)
        if pending is None or outcome is None or outcome.content_hash != pending.content_hash:
            if outcome is not None and outcome.wakes == self._id:
                return
            await self._book.refuse_request(
                item, f"{ended.approval_id} has not ended, or nothing waits for it here", looked=True
            )
            return
        del self._withdrawals[ended.approval_id]
        withdrawal, why = pending.withdrawal, f"{ended.approval_id} is {outcome.status}"
        if outcome.status is ApprovalStatus.APPROVED:
            if self._line.released_with(withdrawal.broadcast_id) == pending.released:
                approved = withdrawal.model_copy(update={"user_id": outcome.decided_by})
                await self._withdraw(item, approved, approval_id=ended.approval_id)
                return
            why = "other POs were released with it since: ask again"
        await self._book.enter(
            "keep_arrival",
            self._book.numbered("keep_arrival", item),
            f"Arrival {withdrawal.broadcast_id} is not withdrawn: {why}",
            {"approval_id": ended.approval_id, "status": outcome.status},
            user_id=outcome.decided_by or "system",
        )

    async def _after_the_end(self, item: Item, unheard: Revocation) -> None:
        """A PO had ended when its confirmation was revoked; what it said last has been handled by now."""
        released = self._line.undeliverable(unheard)
        await self._match()
        if released and unheard.cause is RevocationCause.WITHDRAWN:
            await self._book.enter(
                "withdraw_arrival",
                self._book.numbered("too_late", item),
                f"{unheard.reason}, but PO {unheard.smart_contract_id} was released meanwhile",
                {"reason": unheard.reason, "already_released": [unheard.smart_contract_id]},
                self._released_alert(item, unheard.smart_contract_id, unheard.reason),
            )

    # --- telling the POs ------------------------------------------------------------------------------------

    async def _match(self) -> None:
        """Tells POs what they were given, until nobody else can have anything; and those that wait what is there."""
        while allotments := self._line.allot():
            for allotment in allotments:
                if not await self._tell(names.PARTS_CONFIRMED, allotment):
                    self._line.undeliverable(allotment)
        for count in self._line.changed_counts():
            await self._tell(names.PARTS_COUNTED, count)

    async def _revoke(self, item: Item, revocations: Iterable[Revocation]) -> None:
        for revocation in revocations:
            if not await self._tell(names.PARTS_REVOKED, revocation):
                self._inbox.put(f"{item.key}:{revocation.smart_contract_id}", item.name, revocation)

    async def _tell(self, signal: str, message: PORef) -> bool:
        return await tell(names.client_po_id(message.smart_contract_id), signal, message)

    async def _tell_damage(self, item: Item, arrival: PartArrival) -> list[Change]:
        return [
            self._released_alert(item, damage.smart_contract_id, f"part {damage.condition}")
            for damage in self._line.damaged(arrival)
            if not await self._tell(names.PARTS_DAMAGED, damage)
        ]

    # --- recording ------------------------------------------------------------------------------------------

    async def _report_unclaimed(self) -> None:
        after = timedelta(seconds=self._start.unclaimed_after)
        await self._report(
            self._line.unclaimed(workflow.now(), after), f"has been there for {after} and no PO claims it"
        )

    async def _follow_up_unclaimed(self, item: Item) -> None:
        """What was reported is over when nothing of it is left in stock, and begins anew when it comes back."""
        if (claimed := self._line.newly_claimed) and workflow.patched(UNTIL_NOTHING_IS_LEFT):
            self._line.claim(claimed)
            await self._book.enter(
                "arrival_claimed",
                self._book.numbered("arrival_claimed", item),
                f"Nothing lies unclaimed any more of {', '.join(claimed)}",
                {"broadcast_ids": claimed},
                *(AlertResolved(cause=cause_of("arrival_unclaimed", self._id, name)) for name in claimed),
            )
        await self._report(self._line.unclaimed_again(), "is there again and no PO claims it")

    async def _report(self, lots: Iterable[Lot], what: str) -> None:
        now = timestamp(workflow.now())
        for lot in lots:
            event = f"arrival_unclaimed:{lot.broadcast_id}:{timestamp(lot.timestamp)}:{now}"
            text = (
                f"{lot.quantity} of {self._part} at {lot.location} (broadcast {lot.broadcast_id}) {what}: stage its "
                "PO, or withdraw the arrival."
            )
            await self._book.enter(
                "arrival_unclaimed",
                event,
                text,
                {"broadcast_id": lot.broadcast_id, "quantity": lot.quantity, "location": lot.location},
                self._book.alert(event, "arrival_unclaimed", text, lot.broadcast_id, severity=Severity.MEDIUM),
            )

    def _released_alert(self, item: Item, smart_contract_id: str, what: str) -> AlertRaised:
        text = f"{what}, but PO {smart_contract_id} is already released: stop its test."
        event = self._book.numbered(f"after_release:{smart_contract_id}", item)
        return self._book.alert(event, "withdrawn_after_release", text, smart_contract_id)

    # --- the operator's eye ---------------------------------------------------------------------------------

    def _show(self) -> None:
        line = self._line
        units = sum(lot.quantity for lot in line.stock)
        lines = [f"**{self._part}**: {len(line.line)} POs wait, {units} units unclaimed"]
        if line.location is not None:
            lines.append(f"Last seen at {line.location}: another scan there changes nothing")
        lines += [
            f"- {po.smart_contract_id}: priority {po.priority}, needs {po.quantity} at {po.place or 'any place'}"
            for po in line.line[:20]
        ]
        lines += [f"- {lot.quantity} at {lot.location} since {lot.timestamp.isoformat()}" for lot in line.stock[:20]]
        lines += [
            f"- The withdrawal of {pending.withdrawal.broadcast_id} waits for the approval `{approval_id}`: "
            f"{how_to_answer(approval_id, pending.content_hash)}"
            for approval_id, pending in self._withdrawals.items()
        ]
        workflow.set_current_details("\n".join(lines))
        show_status(line.status)
