"""Learns from the alerts about one contract and one issue: counts them, and asks for a review when it is time.

The gateway reaches it by signal-with-start. The rules are `schemas.maintenance_pattern`; this workflow writes down what
came and what was decided. Nothing here reaches into a node: what changes is a draft, which goes its own way from there.
"""

import json
from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities.maintenance import MaintenanceActivities
from activities.maintenance_pattern import MaintenancePatternActivities
from schemas import names
from schemas.approval import ApprovalEnded, ApprovalOutcome, ApprovalType
from schemas.base import excerpt
from schemas.changes.maintenance_pattern import MaintenanceAlertReceived, ReviewEnded, ReviewOpened
from schemas.maintenance_alert import TeachingAlert
from schemas.maintenance_pattern import (
    COUNTING,
    ENDS,
    PATTERNS,
    REVIEWING,
    ContractAsked,
    EntryAsked,
    Finding,
    PatternAsked,
    PatternLife,
    PatternStart,
    Review,
    ReviewStatus,
    analysis,
    digest,
    gravest,
    review_id,
)
from schemas.maintenance_proposal import behind, propose
from schemas.maintenance_version import NOT_CREATED, NewVersion
from workflows.approval import ask_approval, how_to_answer, outcome_of
from workflows.book import Book
from workflows.inbox import Inbox, Item, Refused
from workflows.search_attributes import show_status
from workflows.steps import regular_step

SIGNALS: dict[str, type[BaseModel]] = {names.ALERT_RECEIVED: TeachingAlert, names.APPROVAL_ENDED: ApprovalEnded}

RECALLED_IS_CONSIDERED = "what was counted before is considered at once"
"""It waited for the next message."""

ROW = {"alert_id", "contract_id", "issue_type", "equipment_id", "equipment_type", "node_id"}
"""What an alert and its row call the same."""


@workflow.defn
class MaintenancePatternWorkflow:
    """Workflow ID `maintenance-pattern/{contract_id}/{issue_type}`; ends when no alert can count any more.

    Temporal's Cancel is refused: it would forget what was counted.
    """

    @workflow.init
    def __init__(self, start: PatternStart) -> None:
        self._start = start
        self._id = names.maintenance_pattern_id(start.contract_id, start.issue_type)
        self._since = start.since or workflow.info().workflow_start_time
        self._book = Book(
            key=self._id, source=self._id, action_type="maintenance", target=start.contract_id, since=self._since
        )
        self._life = start.life or PatternLife()
        self._inbox = Inbox(signals=SIGNALS, updates={}, signals_before=start.signals)

    @workflow.run
    async def run(self, start: PatternStart) -> None:
        reason = "what was counted would be forgotten: it ends by itself when no alert can count any more"
        await self._inbox.outlive_cancel(self._live(), Refused(reason=reason), name="Temporal's Cancel")

    async def _live(self) -> None:
        if self._start.life is None:
            await self._recall()
        self._show()
        while not await self._done():
            if await self._message_in_time():
                await self._handle(self._inbox.next())
                await self._consider()
            else:
                self._life.forget(self._start.window, workflow.now())
            self._show()
            if workflow.info().is_continue_as_new_suggested() and await self._inbox.drained():
                self._continue_as_new()

    async def _recall(self) -> None:
        """Nothing is lost with a workflow that was closed from outside: rows know what was counted and asked.

        An answer that came meanwhile ends its review, and makes room for the next.
        """
        start = self._start
        asked = PatternAsked(
            contract_id=start.contract_id,
            issue_type=start.issue_type,
            window_seconds=start.window_seconds,
            at=workflow.now(),
        )
        self._life = await regular_step(
            MaintenancePatternActivities.read_life, asked, summary="what was counted before"
        )
        if self._life.review is not None:
            await self._ask(self._life.review)
        if workflow.patched(RECALLED_IS_CONSIDERED):
            await self._consider()

    def _continue_as_new(self) -> None:
        self._life.forget(self._start.window, workflow.now())
        kept = {"since": self._since, "life": self._life, "signals": self._inbox.signals}
        workflow.continue_as_new(self._start.model_copy(update=kept))

    async def _done(self) -> bool:
        empty = not self._inbox and not self._life.known and self._life.review is None
        return empty and await self._inbox.drained()

    async def _message_in_time(self) -> bool:
        """Whether a message came before there is nothing left to count."""
        ends = self._life.forgotten_at(self._start.window)
        left = None if ends is None or self._life.review else ends - workflow.now() + timedelta(seconds=1)
        return await self._inbox.filled(left and max(left, timedelta(seconds=1)), "no alert can count any more")

    # --- what comes in --------------------------------------------------------------------------------------

    async def _handle(self, item: Item) -> None:
        match item.payload:
            case TeachingAlert() as alert:
                await self._receive(item, alert)
            case ApprovalEnded() as ended:
                await self._decided(item, ended)
            case Refused() as refused:
                await self._book.refuse_request(item, refused.reason)

    async def _receive(self, item: Item, told: TeachingAlert) -> None:
        """An alert that comes again, escalated or sent twice, changes nothing, however it reads by then."""
        start, now = self._start, workflow.now()
        if told.workflow_id != self._id:
            await self._book.refuse_request(item, f"it is about {told.contract_id} and {told.issue_type}")
            return
        alert = told.model_copy(update={"happened_at": min(told.happened_at, now)})
        event = f"receive:{digest(alert.alert_id)}"
        if self._life.knows(alert):
            return
        if await self._is_received(event):
            self._life.remember(alert)
            return
        late = alert.happened_at < now - start.window
        if late:
            self._life.remember(alert)
        else:
            self._life.take(alert)
        await self._book.enter(
            "receive_alert",
            event,
            f"Equipment alert received: {alert.issue_type}" + (", too late to be counted" if late else ""),
            {
                "alert_id": alert.alert_id,
                "node_id": alert.node_id,
                "equipment_id": alert.equipment_id,
                "equipment_type": alert.equipment_type,
                "issue_type": alert.issue_type,
                "pattern_count": 0 if late else self._life.count(alert, start.window),
            },
            MaintenanceAlertReceived(
                **alert.model_dump(include=ROW),
                occurred_at=alert.happened_at,
                data=json.dumps(dict(alert.data), sort_keys=True),
            ),
            occurred_at=alert.happened_at,
        )

    async def _is_received(self, event: str) -> bool:
        """A regular activity: else a worker that dies behind its entry would find the alert known, and not count it."""
        asked = EntryAsked(key=f"{self._id}:{event}")
        return await regular_step(MaintenancePatternActivities.is_received, asked, summary="whether it came before")

    # --- reviews --------------------------------------------------------------------------------------------

    async def _consider(self) -> None:
        """One review at a time: what comes meanwhile is counted for the next."""
        if self._life.review is None and (finding := gravest(self._life.waiting, self._start.window)):
            await self._open(finding)

    async def _open(self, finding: Finding) -> None:
        start = self._start
        executed = await regular_step(
            MaintenancePatternActivities.read_executed,
            ContractAsked(contract_id=start.contract_id),
            summary=f"the version of {start.contract_id} in force",
        )
        review = Review(
            review_id=review_id(start.contract_id, start.issue_type, finding.alerts),
            contract_id=start.contract_id,
            issue_type=start.issue_type,
            finding=finding,
            proposal=propose(finding, start.issue_type, executed),
        )
        proposed = [change.model_dump(mode="json", exclude={"data"}) for change in review.proposal.changes]
        await self._book.enter(
            "analyze_alerts",
            f"review:{review.review_id}",
            f"Analyzed {len(finding.alerts)} alerts of {start.issue_type}: {review.request.request_type} asked",
            {**analysis(review), "review_id": review.review_id, "proposed": proposed},
            ReviewOpened(
                review_id=review.review_id,
                review_type=finding.review_type,
                contract_id=start.contract_id,
                version=review.proposal.parent_version or "",
                issue_type=start.issue_type,
                alert_ids=json.dumps([alert.alert_id for alert in finding.alerts]),
                node_ids=json.dumps(finding.node_ids),
                proposed=json.dumps(
                    {
                        "advice": review.proposal.advice,
                        "changes": [change.model_dump(mode="json") for change in review.proposal.changes],
                        "alerts": behind(finding.alerts),
                    }
                ),
                approval_id=review.request.approval_id,
            ),
            target=PATTERNS,
        )
        self._life.open(review)
        await self._ask(review)

    async def _ask(self, review: Review) -> None:
        """It may have been asked before this workflow was closed from outside, and answered since."""
        if not await ask_approval(review.request):
            outcome = await outcome_of(ApprovalEnded(approval_id=review.request.approval_id))
            if outcome is not None:
                await self._end(review, outcome)

    async def _decided(self, item: Item, ended: ApprovalEnded) -> None:
        """What the signal says is looked up: anybody can send one. Being told again changes nothing."""
        outcome, review = await outcome_of(ended), self._life.review
        if review is None or outcome is None or outcome.approval_id != review.request.approval_id:
            if outcome is None or outcome.wakes != self._id:
                await self._book.refuse_request(
                    item, f"{ended.approval_id} has not ended, or nothing waits for it here", looked=True
                )
            return
        await self._end(review, outcome)

    async def _end(self, review: Review, outcome: ApprovalOutcome) -> None:
        """An approval of that ID which was asked elsewhere, with other content, decides nothing here."""
        if outcome.content_hash == review.request.content_hash:
            status = ENDS[outcome.status]
            draft, what = await self._follow(review, outcome)
        else:
            status = ReviewStatus.CANCELLED
            draft, what = None, "Its approval is about something else: nothing changes, look at the alerts."
        by = f" by {outcome.decided_by}" if outcome.decided_by else ""
        why = f": {outcome.note}" if outcome.note else ""
        await self._book.enter(
            "end_review",
            f"end:{review.review_id}",
            excerpt(f"Review {review.review_id} is {status}{by}{why}. {what}"),
            {"review_id": review.review_id, "status": status, "reason": outcome.note, "draft_version": draft},
            ReviewEnded(
                review_id=review.review_id,
                status=status,
                decided_by=outcome.decided_by,
                note=outcome.note,
                draft_version=draft,
            ),
            user_id=outcome.decided_by or "system",
        )
        self._life.review = None

    async def _follow(self, review: Review, outcome: ApprovalOutcome) -> tuple[str | None, str]:
        """The draft that was made, and in a sentence what happens now."""
        proposal = review.proposal
        if ENDS[outcome.status] is not ReviewStatus.ACCEPTED:
            return None, "Nothing changes."
        if review.finding.review_type is ApprovalType.EQUIPMENT_REVIEW or not proposal.changes:
            return None, proposal.advice
        new = NewVersion(
            contract_id=review.contract_id,
            parent_version=proposal.parent_version,
            changes=proposal.changes,
            reason=review.request.reason,
            created_by=outcome.decided_by,
            key=review.review_id,
        )
        try:
            created = await regular_step(
                MaintenanceActivities.create_version, new, summary=f"draft after {review.review_id}"
            )
        except ActivityError as error:
            if not isinstance(error.cause, ApplicationError) or error.cause.type != NOT_CREATED:
                raise
            return None, f"No draft could be made: {error.cause}. Change the contract by hand."
        return created.version, f"Draft {created.version} was made."

    # --- the operator's eye ---------------------------------------------------------------------------------

    def _show(self) -> None:
        start, review = self._start, self._life.review
        lines = [
            f"**{REVIEWING if review else COUNTING}** · {start.issue_type} of {start.contract_id}",
            f"{len(self._life.waiting)} alerts wait for a review, of {len(self._life.known)} known",
        ]
        if review:
            request = review.request
            lines += [f"Asked: {request}", f"To answer: {how_to_answer(request.approval_id, request.content_hash)}"]
        workflow.set_current_details("\n\n".join(lines))
        show_status(REVIEWING if review else COUNTING)
