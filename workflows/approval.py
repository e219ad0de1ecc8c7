"""An approval: somebody asks, somebody else answers for exactly what was asked, or time runs out.

It pauses whoever asked and nothing else. A signal wakes them and says no more than that it is over: the outcome is
read where it is recorded, so that nobody can forge one by sending a signal.
"""

import json

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.approval import ApprovalActivities
from schemas import names
from schemas.alert import Severity
from schemas.approval import (
    AddNote,
    Answer,
    ApprovalEnded,
    ApprovalLife,
    ApprovalOutcome,
    ApprovalRequest,
    ApprovalStart,
    ApprovalStatus,
    CancelApproval,
    Respond,
    StepKind,
    TimedStep,
    waiting_cause,
    waiting_causes,
)
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.changes.approval import ApprovalChanged, ApprovalOpened
from workflows.book import Book
from workflows.decisions import proof_of, verify
from workflows.inbox import Inbox, Item, Refused
from workflows.search_attributes import search_attributes, show_status
from workflows.steps import step, tell

MESSAGES: dict[str, type[BaseModel]] = {names.RESPOND: Respond, names.NOTE: AddNote, names.CANCEL: CancelApproval}

_ENDS = {Answer.APPROVE: ApprovalStatus.APPROVED, Answer.REFUSE: ApprovalStatus.REFUSED}


@workflow.defn
class ApprovalWorkflow:
    """Workflow ID `approval/{approval_id}`; its result is the outcome. Temporal's Cancel cancels the request."""

    @workflow.init
    def __init__(self, start: ApprovalStart) -> None:
        self._start = start
        self._request = start.request
        self._life = start.life or ApprovalLife(opened_at=workflow.now())
        approval = names.approval_workflow_id(self._request.approval_id)
        self._book = Book(
            key=approval,
            source=approval,
            action_type="approval",
            target=self._request.approval_id,
            subject=self._request.subject,
            metadata={"subject": self._request.subject},
            life=self._life,
        )
        self._inbox = Inbox(signals=MESSAGES, updates=MESSAGES, refusal=self._refusal, signals_before=start.signals)

    @workflow.run
    async def run(self, start: ApprovalStart) -> ApprovalOutcome:
        return await self._inbox.outlive_cancel(self._live(), CancelApproval(reason="cancelled in Temporal"))

    async def _live(self) -> ApprovalOutcome:
        if self._start.life is None:
            await self._open()
        while self._life.outcome is None:
            self._show()
            if not self._inbox and workflow.info().is_continue_as_new_suggested() and await self._inbox.drained():
                kept = {"life": self._life, "signals": self._inbox.signals}
                workflow.continue_as_new(self._start.model_copy(update=kept))
            due = self._life.next_step(self._request.rule)
            if await self._inbox.filled(max((due.at - workflow.now()).total_seconds(), 0)):
                await self._handle(self._inbox.next())
            else:
                await self._pass(due)
        self._show()
        await self._wake()
        while not await self._inbox.drained():
            await self._handle(self._inbox.next())
        return self._life.outcome

    def _refusal(self, _message: BaseModel) -> str | None:
        return f"the approval is {self._life.status}" if self._life.outcome else None

    # --- what comes in --------------------------------------------------------------------------------------

    async def _handle(self, item: Item) -> None:
        match item.payload:
            case Refused() as refused:
                await self._book.refuse_request(item, refused.reason)
            case CancelApproval() if self._life.outcome is not None and not item.asked:
                pass  # whoever asked gave it up while it was answered
            case _ if reason := self._refusal(item.payload):
                await self._book.refuse_request(item, reason)
            case Respond() as response:
                await self._respond(item, response)
            case AddNote() as note:
                await self._note(item, note)
            case CancelApproval() as cancel:
                await self._end(
                    item.key,
                    ApprovalOutcome(
                        approval_id=self._request.approval_id,
                        content_hash=self._request.content_hash,
                        status=ApprovalStatus.CANCELLED,
                        note=cancel.reason,
                    ),
                    "cancel_approval",
                    f"Cancelled: {cancel.reason}",
                    item.sender(cancel.user_id),
                    asked=item.asked,
                )
                item.answer(cancel)

    async def _respond(self, item: Item, response: Respond) -> None:
        verdict = await verify(response.token, self._request.wanted, self._life.tokens)
        decision = verdict.decision
        reason = verdict.refusal or (decision and self._life.refusal(self._request, decision, response.note))
        if decision is None or reason:
            await self._book.refuse_decision(item, reason or "", verdict.person)
            return
        outcome = ApprovalOutcome(
            approval_id=self._request.approval_id,
            content_hash=self._request.content_hash,
            status=_ENDS[Answer(decision.decision)],
            decided_by=decision.person,
            role=decision.role,
            note=response.note,
        )
        await self._end(
            item.key,
            outcome,
            "respond_approval",
            f"{outcome.status} by {decision.person} ({decision.role})" + (f": {outcome.note}" if outcome.note else ""),
            decision.person,
            proof_of(decision, response.token),
            asked=True,  # recorded after the task: verified again later, the decision may not count any more
        )
        item.answer(outcome)

    async def _note(self, item: Item, note: AddNote) -> None:
        sender = item.sender(note.user_id)
        event = self._book.numbered("note", item)
        await self._book.enter("note_approval", event, note.note, {}, user_id=sender, asked=item.asked)
        item.answer(note)

    # --- time -----------------------------------------------------------------------------------------------

    async def _pass(self, due: TimedStep) -> None:
        self._life.done += 1
        request, event = self._request, f"{due.kind}:{self._life.done}"
        match due.kind:
            case StepKind.EXPIRE:
                outcome = ApprovalOutcome(
                    approval_id=request.approval_id, content_hash=request.content_hash, status=ApprovalStatus.EXPIRED
                )
                await self._end(event, outcome, "expire_approval", "Nobody answered in time", "system")
            case StepKind.REMIND:
                text = f"{request} waits for an answer of a {due.owner} since {self._life.opened_at.isoformat()}."
                await self._book.enter(
                    "remind_approval", event, text, {}, *self._nobody_waits(), self._waits(event, text)
                )
            case StepKind.ESCALATE:
                text = f"{request} was not answered and is now asked of a {due.owner}."
                await self._book.enter(
                    "escalate_approval",
                    event,
                    text,
                    {"owner": due.owner},
                    *self._nobody_waits(),
                    self._waits(event, text),
                    ApprovalChanged(approval_id=request.approval_id, owner=due.owner),
                )

    # --- its beginning and its end --------------------------------------------------------------------------

    async def _open(self) -> None:
        request, rule = self._request, self._request.rule
        row = ApprovalOpened(
            approval_id=request.approval_id,
            request_type=request.request_type,
            subject=request.subject,
            requested_by=request.requested_by,
            on_behalf_of=request.on_behalf_of,
            summary=str(request),
            changes=json.dumps([change.model_dump() for change in request.changes]),
            reason=request.reason,
            content_hash=request.content_hash,
            permission=rule.permission,
            owner=rule.owners[0],
            wakes=request.wakes,
            status=ApprovalStatus.OPEN,
            expires_at=self._life.opened_at + rule.expires_after,
        )
        text = f"{request}. {request.requested_by} asks because {request.reason}. Answer {request.approval_id}."
        await self._book.enter(
            "request_approval",
            "open",
            f"{request}: {request.reason}",
            {"changes": [change.model_dump() for change in request.changes], "content_hash": request.content_hash},
            row,
            self._waits("open", text, severity=Severity.MEDIUM),
            user_id=request.requested_by,
        )

    async def _end(
        self,
        event: str,
        outcome: ApprovalOutcome,
        action: str,
        details: str,
        user_id: str,
        metadata: dict[str, object] | None = None,
        *,
        asked: bool = False,
    ) -> None:
        await self._book.enter(
            action,
            f"end:{event}",
            details,
            {"status": outcome.status, "content_hash": outcome.content_hash, **(metadata or {})},
            ApprovalChanged(
                approval_id=outcome.approval_id,
                status=outcome.status,
                decided_by=outcome.decided_by,
                decided_role=outcome.role,
                note=outcome.note,
                ended_now=True,
            ),
            *self._nobody_waits(),
            user_id=user_id,
            asked=asked,
        )
        self._life.outcome = outcome

    async def _wake(self) -> None:
        """Once: the signal is a command of this history. Whoever asked may be gone; then nothing changes any more."""
        request = self._request
        if request.wakes is None:
            return
        heard = await tell(request.wakes, names.APPROVAL_ENDED, ApprovalEnded(approval_id=request.approval_id))
        if not heard and self._life.status is not ApprovalStatus.CANCELLED:
            text = f"{request.wakes} asked for {request.approval_id} and is gone: its outcome changes nothing."
            alert = self._book.alert("unheard", "approval_unheard", text)
            about = {"approval_id": request.approval_id}
            await self._book.enter("approval_unheard", "unheard", text, about, alert)

    # --- alerts -----------------------------------------------------------------------------------------------

    def _waits(self, event: str, text: str, severity: Severity = Severity.HIGH) -> AlertRaised:
        """One is open at a time, and its owner is whoever is asked now."""
        owner, cause = self._life.owner(self._request.rule), waiting_cause(self._request.approval_id, event)
        return self._book.alert(event, "approval_waits", text, severity=severity, cause=cause, owner=owner)

    def _nobody_waits(self) -> list[AlertResolved]:
        causes = waiting_causes(self._request.approval_id, self._request.rule)
        return [AlertResolved(cause=cause) for cause in causes]

    # --- the operator's eye ---------------------------------------------------------------------------------

    def _show(self) -> None:
        request, life = self._request, self._life
        lines = [
            f"**{life.status}** · {request}",
            f"{request.requested_by} asks because {request.reason}",
            f"Answered by: a {life.owner(request.rule)}, or whoever else has `{request.rule.permission}`",
            f"Hash: `{request.content_hash}`",
        ]
        if life.outcome is None:
            lines.append(f"To answer: {how_to_answer(request.approval_id, request.content_hash)}")
        if life.last_refusal:
            lines.append(f"⚠ {life.last_refusal}")
        workflow.set_current_details("\n\n".join(lines))
        show_status(life.status)


def how_to_answer(approval_id: str, content_hash: str) -> str:
    """By hand, in the Temporal Web UI."""
    approval = names.approval_workflow_id(approval_id)
    return (
        f"`smartfloor decide {approval} approve --hash {content_hash}` prints a token; send it to `{approval}` as "
        'signal `respond`, `{"token": "..."}`'
    )


async def ask_approval(request: ApprovalRequest) -> bool:
    """Starts the approval from a workflow, which is woken by `approval_ended` where the request says so.

    False where there is one of that ID: somebody else started it, so it is not what is asked here.
    """
    try:
        await workflow.start_child_workflow(
            ApprovalWorkflow.run,
            ApprovalStart(request=request),
            id=names.approval_workflow_id(request.approval_id),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=search_attributes(ApprovalStatus.OPEN),
            static_summary=str(request)[:200],
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


async def outcome_of(ended: ApprovalEnded) -> ApprovalOutcome | None:
    """As it is recorded; None while the approval is open, whoever says that it has ended."""
    return await step(ApprovalActivities.read_outcome, ended, summary=f"outcome of {ended.approval_id}")


async def cancel_approval(approval_id: str, reason: str) -> None:
    """Whoever asked no longer wants it; one that has ended meanwhile is left as it is."""
    await tell(names.approval_workflow_id(approval_id), names.CANCEL, CancelApproval(reason=reason, user_id="system"))
