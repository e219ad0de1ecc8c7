"""The reverse trace: an instrument turned out to be bad, so everything is in doubt that relied on it.

Its results are searched in the ledger, up to an entry that is in the history, so that a search that is repeated finds
the same; the result lies in rows, and here are only numbers. Tests that are under way with the instrument are held. A
trace ends when every result has the disposition of a person and nothing can come any more: until then it looks again
each day, and at least once a day after the instrument's node has heard of it. A later calibration of the instrument
does not end it, and nor does Temporal's Cancel.
"""

from datetime import date, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.reverse_trace import ReverseTraceActivities
from schemas import names
from schemas.base import excerpt
from schemas.changes.alert import AlertRaised
from schemas.changes.reverse_trace import (
    TraceAlertsResolved,
    TraceClosed,
    TracedResultsDisposed,
    TraceOpened,
    VaultAmended,
)
from schemas.decision import Decision
from schemas.equipment import CalibrationRecord
from schemas.reverse_trace import (
    AMENDING,
    DisposeTraced,
    Horizon,
    Search,
    Searched,
    Selected,
    Selecting,
    Selection,
    TraceDisposition,
    TraceLife,
    TraceStart,
    TraceStatus,
    decide_first,
    disposition_wanted,
)
from schemas.test_execution import HoldRequest
from workflows import retry
from workflows.book import Book
from workflows.decisions import proof_of, verify
from workflows.inbox import Inbox, Item, Refused
from workflows.search_attributes import search_attributes, show_status
from workflows.steps import step, tell

if TYPE_CHECKING:
    from schemas.record import Change

MESSAGES: dict[str, type[BaseModel]] = {names.DISPOSE: DisposeTraced}


@workflow.defn
class ReverseTraceWorkflow:
    """Workflow ID `trace/{trace_id}`; its result is how many results were found."""

    @workflow.init
    def __init__(self, start: TraceStart) -> None:
        self._start = start
        self._life = start.life or TraceLife()
        trace = names.reverse_trace_id(start.trace_id)
        self._book = Book(
            key=trace,
            source=trace,
            action_type="maintenance",
            target=start.trace_id,
            metadata={"equipment_id": start.equipment_id, "certificate_number": start.certificate_number},
            life=self._life,
        )
        self._inbox = Inbox(signals=MESSAGES, updates=MESSAGES, refusal=self._refusal, signals_before=start.signals)

    @workflow.run
    async def run(self, start: TraceStart) -> int:
        reason = "a reverse trace is not cancelled: decide on each of its results"
        return await self._inbox.outlive_cancel(self._live(), Refused(reason=reason))

    async def _live(self) -> int:
        if self._start.life is None:
            await self._open()
        if self._life.searched_at is None:
            await self._search()
        while not self._life.closed:
            self._show()
            if not self._inbox and workflow.info().is_continue_as_new_suggested() and await self._inbox.drained():
                kept = {"life": self._life, "signals": self._inbox.signals}
                workflow.continue_as_new(self._start.model_copy(update=kept))
            if self._life.over:
                await self._close()
            elif await self._inbox.filled(self._life.patience(workflow.now()), "searches for results that came since"):
                await self._handle(self._inbox.next())
            else:
                await self._search()
        self._show()
        while not await self._inbox.drained():
            await self._handle(self._inbox.next())
        return self._life.found

    # --- the search -----------------------------------------------------------------------------------------

    async def _open(self) -> None:
        start = self._start
        since = f"since {start.since}" if start.since else "ever"
        await self._book.enter(
            "open_trace",
            "open",
            f"{start.equipment_id} turned out to be bad on {start.calibrated_on}: whatever was measured with it "
            f"{since} is in doubt",
            {"since": start.since and start.since.isoformat(), "calibrated_on": start.calibrated_on.isoformat()},
            TraceOpened(**start.model_dump(exclude={"life", "signals"})),
            occurred_at=start.found_at,
        )

    async def _search(self) -> None:
        """Behind what was searched before, up to the present end of the ledger."""
        life, trace = self._life, self._start.model_copy(update={"life": None, "signals": 0})
        horizon = await step(
            ReverseTraceActivities.look, trace, summary="how far the ledger goes, and which tests are under way"
        )
        found: Searched = await workflow.execute_activity_method(
            ReverseTraceActivities.search,
            Search(trace=trace, after=life.searched, until=horizon.until, known=life.found),
            start_to_close_timeout=retry.SEARCH_TIME,
            heartbeat_timeout=retry.ACTIVITY_TIME,
            retry_policy=retry.UNTIL_DONE,
            summary=f"results in the ledger behind entry {life.searched}, up to {horizon.until}",
        )
        life.searched, life.searched_at = horizon.until, workflow.now()
        life.heard_at = (life.heard_at or life.searched_at) if horizon.heard else None
        life.found, life.waiting, life.under_way = found.found, found.waiting, horizon.under_way
        await self._hold_tests(horizon)

    async def _hold_tests(self, horizon: Horizon) -> None:
        """Nothing is signed that was measured with it until somebody has looked, and resumed it: then it is not held
        again."""
        start = self._start
        reason = (
            f"{start.equipment_id} turned out to be bad (certificate {start.certificate_number}), so its results "
            f"are in doubt: {decide_first(start.trace_id)}; to measure again, reject them"
        )
        for contract in horizon.holdable:
            if contract not in self._life.held:
                self._life.held.append(contract)
                await tell(names.test_execution_id(contract), names.HOLD, HoldRequest(reason=reason))

    async def _close(self) -> None:
        self._life.closed = True
        await self._book.enter(
            "trace_closed",
            "close",
            f"All {self._life.found} results in doubt have their disposition",
            {"found": self._life.found},
            TraceClosed(trace_id=self._start.trace_id),
        )

    # --- what comes in --------------------------------------------------------------------------------------

    def _refusal(self, _message: BaseModel) -> str | None:
        return "the trace is closed: every result has its disposition" if self._life.closed else None

    async def _handle(self, item: Item) -> None:
        match item.payload:
            case Refused() as refused:
                await self._book.refuse_request(item, refused.reason)
            case _ if reason := self._refusal(item.payload):
                await self._book.refuse_request(item, reason)
            case DisposeTraced() as request:
                await self._dispose(item, request)

    async def _dispose(self, item: Item, request: DisposeTraced) -> None:
        trace = self._start.trace_id
        selection = Selection(**request.terms)
        selected = await step(
            ReverseTraceActivities.select,
            Selecting(trace_id=trace, selection=selection),
            summary=f"which results are decided on: {selection}",
        )
        if not selected.count:
            await self._book.refuse_request(
                item, f"none of the selected results waits for a disposition ({selection})", looked=True
            )
            return
        verdict = await verify(request.token, disposition_wanted(trace, selected.content_hash), self._life.tokens)
        decision = verdict.decision
        reason = verdict.refusal
        if decision is not None and reason is None and decision.person in selected.involved:
            reason = f"{decision.person} performed or signed some of these tests: another person must decide"
        if decision is None or reason is not None:
            await self._book.refuse_decision(item, reason or "", verdict.person)
            return
        await self._disposed(item, request, selection, selected, decision)
        self._life.last_refusal = None
        self._life.waiting -= selected.count
        item.answer(selected)
        if not self._life.waiting:
            await self._search()

    async def _disposed(
        self, item: Item, request: DisposeTraced, selection: Selection, selected: Selected, decision: Decision
    ) -> None:
        trace, disposition = self._start.trace_id, TraceDisposition(decision.decision)
        event = self._book.numbered("dispose", item)
        changes: list[Change] = [
            TracedResultsDisposed(
                trace_id=trace,
                selection=selection,
                disposition=disposition,
                decided_role=decision.role,
                reason=request.reason,
            ),
            TraceAlertsResolved(trace_id=trace),
        ]
        if disposition in AMENDING:
            changes += [VaultAmended(trace_id=trace), self._wanted(event, disposition, selection, selected)]
        await self._book.enter(
            "dispose_traced",
            event,
            excerpt(
                f"{selected.count} results: {disposition} by {decision.person} ({decision.role}): {request.reason}"
            ),
            {
                "disposition": disposition,
                "selection": selection.terms,
                "results": selected.count,
                "content_hash": selected.content_hash,
                "reason": request.reason,
                **proof_of(decision, request.token),
            },
            *changes,
            user_id=decision.person,
            asked=True,  # recorded after the task: verified again later, the decision may not count any more
        )

    def _wanted(
        self, event: str, disposition: TraceDisposition, selection: Selection, selected: Selected
    ) -> AlertRaised:
        """What somebody must do now."""
        about = f"{selected.count} results measured with {self._start.equipment_id} ({selection})"
        where = f"They are listed in /api/v1/traces/{self._start.trace_id}"
        open_tests = "where their test is still open, resume it and reject them"
        if disposition is TraceDisposition.RETEST:
            text = f"{about} must be measured again: stage a contract for their parts, or {open_tests}. {where}."
            return self._book.alert(event, "retest_wanted", text, event)
        text = f"{about} are withdrawn: tell the client and send the amended report, or {open_tests}. {where}."
        return self._book.alert(event, "results_withdrawn", text, event)

    # --- the operator's eye ---------------------------------------------------------------------------------

    def _show(self) -> None:
        start, life = self._start, self._life
        lines = [
            f"**{life.status}** · {start.equipment_id} turned out to be bad by {start.certificate_number}",
            f"{life.found} results in doubt, {life.waiting} of them wait for a disposition",
        ]
        if life.waiting:
            lines.append(
                f"Moved on by: whoever has `{disposition_wanted('', '').permission}` and neither performed nor signed "
                f"them. /api/v1/traces/{start.trace_id} lists them with the hash that is decided on; "
                f"`smartfloor decide {names.reverse_trace_id(start.trace_id)} use_as_is --hash …` prints a token (or "
                'retest, withdraw); signal `dispose` with `{"token": "...", "reason": "why"}`, for some of them with '
                "`clientpo_id`, `smart_contract_id`, `revision`, `test_id`"
            )
        if life.under_way:
            lines.append(f"Under way with it: {excerpt(', '.join(life.under_way))}. The trace waits for their end")
        elif not life.waiting and not life.closed:
            lines.append("It searches once more, for tests that had begun before their node heard of it, and closes")
        if life.last_refusal:
            lines.append(f"⚠ {life.last_refusal}")
        workflow.set_current_details("\n\n".join(lines))
        show_status(life.status)


async def start_trace(calibration: CalibrationRecord, since: date | None, found_at: datetime) -> None:
    """Starts the reverse trace of a calibration that puts in doubt what was measured with its instrument, once.

    `since` is the day of the last calibration that left it good, None where there is none.
    """
    start = TraceStart.of(calibration, since, found_at)
    try:
        await workflow.start_child_workflow(
            ReverseTraceWorkflow.run,
            start,
            id=names.reverse_trace_id(start.trace_id),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=search_attributes(TraceStatus.SEARCHING),
            static_summary=f"{start.equipment_id} · found bad by {start.certificate_number}"[:200],
        )
    except WorkflowAlreadyStartedError:
        workflow.logger.info("%s is traced already", start.trace_id)
