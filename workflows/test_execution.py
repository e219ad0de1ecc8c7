"""The test of a released PO: begun through the gate of its node, measured, signed off, authorized.

One main loop handles what comes in, one message at a time, and has the Guardian authorize when every sign-off is in.
What is asked of the node waits for the node, however long that takes; only an abort is not kept waiting by it, and
not even that once everything is signed: from then on the package may exist.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError, is_cancelled_exception

from activities.equipment import EquipmentActivities
from activities.node import NodeActivities
from activities.test_execution import TestExecutionActivities
from schemas import names
from schemas.approval import StepKind, TimedStep
from schemas.base import excerpt
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.changes.test_execution import ResultSubmitted, SignedOff, SignOffsVoided, TestChanged, TestOpened
from schemas.client_po import SmartClientPO
from schemas.decision import Decision
from schemas.gate import BeginTest, GateAnswer, validation_results
from schemas.guardian import AuthorizationPackage, AuthorizationRequest
from schemas.ledger import LedgerEntry
from schemas.node_report import LinesNamed
from schemas.permission import Role
from schemas.record import Change
from schemas.signoff import Meaning, QualificationCheck, SignOff, SignOffDecision, signoff_wanted
from schemas.test_execution import (
    REQUESTS,
    AbortRequest,
    BlockedStart,
    Disposed,
    EquipmentNews,
    HoldRequest,
    ResumeRequest,
    SignOffRequest,
    StartRequest,
    SubmitRequest,
    TestEnd,
    TestExecutionStart,
    TestLife,
    TestStatus,
    alert_cause,
    outlook,
    results_wanted,
    sentence,
)
from schemas.test_results import Begun, KeptResults, TestVerdict
from schemas.transfer import Disposition, PackageStatus, TransferStart, opened
from workflows.book import Book
from workflows.decisions import proof_of, verify
from workflows.inbox import Inbox, Item, Refused
from workflows.search_attributes import search_attributes, show_status
from workflows.steps import ask_node, record, refresh, step

GATE_IS_ASKED_AGAIN = "a blocked test asks its gate again"
"""Tests that were blocked before waited for a new start, and the gate's answer was in no entry of its own."""

LINKED_AFTER_THE_LOOK = "what the gate answered is recorded after the task"
"""Whether its node had heard what the register says was looked up within it: looked up again later, it asked anew."""

ANSWERED_IN_TIME = "a node whose answer is there is not late"
"""Where the answer and the end of its time were seen together, it was alerted."""

Argument = TypeVar("Argument", bound=BaseModel)
Result = TypeVar("Result")


class NodeRefused(Exception):
    """What the node will not do, however often it is asked; or nobody waits for it any more."""


@workflow.defn
class TestExecutionWorkflow:
    """Workflow ID `test/{smart_contract_id}`; Temporal's Cancel aborts the test."""

    __test__ = False

    @workflow.init
    def __init__(self, start: TestExecutionStart) -> None:
        self._start = start
        self._name = start.smart_contract_id
        self._life = start.life or TestLife()
        workflow_id = names.test_execution_id(self._name)
        self._book = Book(
            key=workflow_id,
            source=workflow_id,
            action_type="test",
            target=self._name,
            smart_id=start.node_id,
            life=self._life,
        )
        if start.document is None:
            self._inbox = Inbox(signals={}, updates={})
            workflow.set_current_details(
                f"**At node {start.node_id}**, waiting for its test.\n\nReceipt of the node: `{start.receipt_hash}`"
            )
            return
        self._po = SmartClientPO.model_validate(start.document)
        self._inbox = Inbox(
            signals={**REQUESTS, names.DISPOSED: Disposed, names.EQUIPMENT_CHANGED: EquipmentNews},
            updates=REQUESTS,
            refusal=lambda message: self._life.refusal(self._po, message),
            signals_before=start.signals,
        )

    @workflow.run
    async def run(self, start: TestExecutionStart) -> TestEnd:
        if start.document is None:
            return await self._only_wait()
        return await self._inbox.outlive_cancel(
            self._live(), AbortRequest(reason="cancelled in Temporal", user_id="temporal"), name=names.ABORT
        )

    async def _only_wait(self) -> TestEnd:
        """Started before a test could be performed, without its document; Temporal's Cancel ends it."""
        while True:
            await self._inbox.filled(None)
            item = self._inbox.next()
            if isinstance(item.payload, Refused):
                await self._book.refuse_request(item, item.payload.reason)

    async def _live(self) -> TestEnd:
        if self._start.life is None:
            await self._open()
        while not self._life.closed:
            self._show()
            if not self._inbox and workflow.info().is_continue_as_new_suggested() and await self._inbox.drained():
                kept = {"life": self._life, "signals": self._inbox.signals}
                workflow.continue_as_new(self._start.model_copy(update=kept))
            due = self._life.next_step(self._po)
            if self._inbox:
                await self._handle(self._inbox.next())
            elif self._status is TestStatus.AUTHORIZING:
                await self._authorize()
            elif not await self._message_before(due) and due is not None:
                await self._ask(due)
        self._show()
        while not await self._inbox.drained():
            await self._handle(self._inbox.next())
        return TestEnd(smart_contract_id=self._name, status=self._status, package_id=self._life.package_id)

    async def _message_before(self, due: TimedStep | None) -> bool:
        left = max((due.at - workflow.now()).total_seconds(), 0) if due else None
        return await self._inbox.filled(left, f"{due.kind}: {due.owner}" if due else None)

    @property
    def _status(self) -> TestStatus:
        return self._life.status(self._po)

    # --- what comes in --------------------------------------------------------------------------------------

    async def _handle(self, item: Item) -> None:
        match item.payload:
            case Refused() as refused:
                await self._book.refuse_request(item, refused.reason)
            case Disposed() as disposed:
                await self._dispose(item, disposed)
            case EquipmentNews():
                while self._inbox.take(EquipmentNews):
                    pass  # however many say so: the gate is asked once
                await self._begin_again(item)
            case message if reason := self._life.refusal(self._po, message):
                await self._book.refuse_request(item, reason)
            case message:
                try:
                    await self._do(item, message)
                except NodeRefused as refused:
                    await self._book.refuse_request(item, str(refused))

    async def _do(self, item: Item, message: BaseModel) -> None:
        self._life.last_refusal = None
        match message:
            case StartRequest():
                await self._begin(item, message)
            case SubmitRequest():
                await self._submit(item, message)
            case SignOffRequest():
                await self._sign_off(item, message)
            case HoldRequest():
                self._life.hold_reason = message.reason
                await self._moved(item, "hold_test", f"On hold: {message.reason}", message.user_id)
            case ResumeRequest():
                self._life.hold_reason = None
                await self._moved(item, "resume_test", f"Resumed: {message.reason}", message.user_id)
                await self._begin_again(item)
            case AbortRequest():
                self._life.aborted = self._life.closed = True
                over = self._over("equipment_not_ready", "results_rejected", "node_late")
                await self._moved(item, "abort_test", f"Aborted: {message.reason}", message.user_id, *over)

    async def _moved(self, item: Item, action: str, details: str, user_id: str, *changes: Change) -> None:
        """Hold, resume and abort."""
        self._life.await_signoffs(self._po, workflow.now())
        changes = (self._row(hold_reason=self._life.hold_reason), *self._over("signoff_waits"), *changes)
        who = item.sender(user_id)
        await self._book.enter(action, f"{action}:{item.key}", details, {}, *changes, user_id=who, asked=item.asked)
        item.answer(self._life)

    # --- the gate -------------------------------------------------------------------------------------------

    async def _begin(self, item: Item, request: StartRequest) -> None:
        by, asked_again = item.sender(request.user_id), False
        answer = await self._ask_gate(request)
        if workflow.patched(GATE_IS_ASKED_AGAIN):
            self._life.blocked = BlockedStart(request=request, by=by)
            asked_again = answer.begun is None
            await self._link_contracts(item.key, answer, asked=item.asked)
        await self._answered(item.key, request, answer, by, asked=item.asked)
        item.answer(self._life)
        if asked_again:  # whatever changed before this was recorded, nobody told this test
            await self._begin_again(item)

    async def _begin_again(self, item: Item) -> None:
        """What was blocked is asked of the gate again; where that gives nothing new, nothing is recorded.

        Nobody waits for it: whatever made it ask is done. A node that refuses, or an abort meanwhile, refuses nothing.
        """
        blocked = self._life.blocked
        if blocked is None or self._status is not TestStatus.BLOCKED:
            return
        try:
            answer = await self._ask_gate(blocked.request)
        except NodeRefused:
            return
        if answer.missing == self._life.missing:
            return
        key = f"{item.key}:again"
        await self._link_contracts(key, answer)
        await self._answered(key, blocked.request, answer, blocked.by)

    async def _ask_gate(self, request: StartRequest) -> GateAnswer:
        """A node that was away is asked again once it has heard what happened meanwhile to what it begins with."""
        begin = BeginTest(
            smart_contract_id=self._name,
            performer=request.performer,
            instruments=request.instruments,
            at=workflow.now(),
        )
        while True:
            answer = await self._at_node(NodeActivities.begin_test, begin, "begin the test", "node_late")
            if answer.begun is None or answer.register_revision is None:
                return answer  # what is missing it says again by itself, when it has news
            lines = LinesNamed(equipment_ids=tuple(each.equipment_id for each in answer.begun.instruments))
            newest = await step(EquipmentActivities.newest_change, lines, summary="what the register says of them")
            if newest <= answer.register_revision:
                return answer
            await refresh(self._start.node_id)
            begin = begin.model_copy(update={"register_revision": newest, "at": workflow.now()})

    async def _link_contracts(self, key: str, answer: GateAnswer, *, asked: bool = False) -> None:
        entry = LedgerEntry(
            idempotency_key=f"{names.test_execution_id(self._name)}:link_contracts:{key}",
            action_type="maintenance",
            action="link_contracts",
            target=self._po.clientpo_id,
            details=f"Maintenance validation: {len(answer.checks)} equipment items checked",
            smart_id=self._start.node_id,
            metadata=validation_results(self._po, answer),
        )
        await record(entry, asked=asked or workflow.patched(LINKED_AFTER_THE_LOOK))

    async def _answered(
        self, key: str, request: StartRequest, answer: GateAnswer, by: str, *, asked: bool = False
    ) -> None:
        if answer.begun is None:
            await self._block(key, request, answer, by, asked=asked)
        else:
            await self._started(key, request, answer.begun, by, asked=asked)

    async def _block(self, key: str, request: StartRequest, answer: GateAnswer, by: str, *, asked: bool) -> None:
        self._life.missing = answer.missing
        event, text = f"equipment_not_ready:{key}", f"The test of {self._name} cannot begin: {self._missing}"
        await self._book.enter(
            "equipment_not_ready",
            event,
            excerpt(text),
            {
                "issue_type": "equipment_not_ready",
                "node_id": self._start.node_id,
                "clientpo_id": self._po.clientpo_id,
                "performer": request.performer,
                "instruments": list(request.instruments),
                "equipment_ids": [check.equipment_id for check in answer.checks if not check.ready],
                "missing": list(answer.missing),
            },
            self._row(missing=self._missing),
            self._lasting(event, "equipment_not_ready", f"{text}. Mend it: then the test begins by itself."),
            user_id=by,
            asked=asked,
        )

    async def _started(self, key: str, request: StartRequest, begun: Begun, by: str, *, asked: bool) -> None:
        void = self._life.begin(begun)
        await self._book.enter(
            "start_test",
            f"start_test:{key}",
            f"Test started by {begun.performer} at {self._start.node_id}",
            {"reason": request.reason, "begun": begun.model_dump(mode="json"), "void": _who(void)},
            self._row(
                performer=begun.performer,
                begun=begun.model_dump_json(),
                missing=None,
                rework_reason=None,
                started_now=True,
            ),
            *self._void(self._tests),
            *self._over("equipment_not_ready"),
            user_id=by,
            asked=asked,
        )

    # --- results --------------------------------------------------------------------------------------------

    async def _submit(self, item: Item, submission: SubmitRequest) -> None:
        begun = self._begun
        wanted = results_wanted(self._name, submission.content_hash(self._name))
        verdict = await verify(submission.token, wanted, self._life.tokens)
        decision, reason = verdict.decision, verdict.refusal
        if decision is not None and reason is None and decision.person != begun.performer:
            reason = f"{begun.performer} performs this test, and gives its results"
        if decision is None or reason is not None:
            await self._book.refuse_decision(item, reason or "", verdict.person)
            return
        kept = KeptResults(
            smart_contract_id=self._name,
            revision=self._life.revision + 1,
            begun=begun,
            results=submission.results,
            submitted_by=decision.person,
            submitted_at=workflow.now(),
        )
        answer = await self._at_node(NodeActivities.keep_results, kept, "keep its copy of the results", "node_late")
        await self._submitted(item, submission, decision, answer.flags if answer else ())
        item.answer(self._life)

    async def _submitted(
        self, item: Item, submission: SubmitRequest, decision: Decision, flags: tuple[str, ...]
    ) -> None:
        """`flags` are the node's own words on the equipment; a signer sees them beside the results."""
        void = self._life.submit(submission.results)
        self._life.await_signoffs(self._po, workflow.now())
        revision = self._life.revision
        found = ", ".join(f"{result.test_id} {result.verdict}" for result in submission.results)
        results = [
            ResultSubmitted(
                smart_contract_id=self._name,
                revision=revision,
                test_id=result.test_id,
                verdict=result.verdict,
                result=result.model_dump_json(),
                content_hash=self._hash(result.test_id),
                submitted_by=decision.person,
                flags="; ".join(flags) or None,
            )
            for result in submission.results
        ]
        await self._book.enter(
            "submit_results",
            f"submit_results:{item.key}",
            excerpt(f"Results, revision {revision}: {found}"),
            {
                "revision": revision,
                "content_hashes": {result.test_id: result.content_hash for result in results},
                "void": _who(void),
                **({"flags": list(flags)} if flags else {}),
                **proof_of(decision, submission.token),
            },
            self._row(revision=revision, rework_reason=None, submitted_now=True),
            *self._void(result.test_id for result in results),
            *results,
            *self._over("results_rejected", "signoff_waits"),
            user_id=decision.person,
            asked=True,
        )

    # --- sign-offs ------------------------------------------------------------------------------------------

    async def _sign_off(self, item: Item, request: SignOffRequest) -> None:
        test = next(test for test in self._po.tests if test.test_id == request.test_id)
        wanted = signoff_wanted(self._name, self._hash(test.test_id))
        verdict = await verify(request.token, wanted, self._life.tokens)
        decision = verdict.decision
        reason = verdict.refusal or (decision and self._life.signoff_refusal(test, decision))
        if decision is None or reason:
            await self._book.refuse_decision(item, reason or "", verdict.person)
            return
        if decision.decision == SignOffDecision.REJECT and request.reason is None:
            await self._book.refuse_decision(item, "a rejection says why: give a reason", decision.person)
            return
        qualification = await step(
            TestExecutionActivities.check_qualification,
            QualificationCheck(
                person=decision.person, role=decision.role, method=test.test_type, at=self._begun.started_at
            ),
            summary=f"qualification of {decision.person} as {decision.role}",
        )
        if qualification.refusal is not None:
            await self._book.refuse_decision(item, qualification.refusal, decision.person)
        elif decision.decision == SignOffDecision.REJECT:
            await self._reject(item, request, decision, qualification.certificate)
        else:
            await self._sign(item, request, decision, qualification.certificate)

    async def _sign(self, item: Item, request: SignOffRequest, decision: Decision, certificate: str | None) -> None:
        signoff = SignOff(
            test_id=request.test_id,
            role=decision.role,
            person=decision.person,
            meaning=Meaning(decision.meaning),
            content_hash=decision.content_hash,
            signed_at=decision.issued_at,  # what its proof says
            qualification=certificate,
            proof=request.token or "",
        )
        self._life.signoffs.append(signoff)
        self._life.await_signoffs(self._po, workflow.now())
        await self._book.enter(
            "sign_off",
            f"sign_off:{item.key}",
            f"{signoff.test_id} {signoff.meaning} by {signoff.person} ({signoff.role})",
            {"test_id": signoff.test_id, "qualification": certificate, **proof_of(decision, request.token)},
            self._row(signed_now=self._status is TestStatus.AUTHORIZING),
            self._decided(decision, request, certificate),
            *self._over("signoff_waits"),
            user_id=decision.person,
            asked=True,
        )
        item.answer(self._life)

    async def _reject(self, item: Item, request: SignOffRequest, decision: Decision, certificate: str | None) -> None:
        reason = excerpt(f"{request.test_id} rejected by {decision.person} ({decision.role}): {request.reason}")
        void = self._life.reject(request.test_id, reason)
        self._life.await_signoffs(self._po, workflow.now())
        event = f"reject_results:{item.key}"
        await self._book.enter(
            "reject_results",
            event,
            reason,
            {
                "test_id": request.test_id,
                "reason": request.reason,
                "void": _who(void),
                **proof_of(decision, request.token),
            },
            self._row(rework_reason=reason),
            *self._void([request.test_id]),
            self._decided(decision, request, certificate),
            self._lasting(event, "results_rejected", f"{self._name}: {reason}. Mend it, and give results again."),
            *self._over("signoff_waits"),
            user_id=decision.person,
            asked=True,
        )
        item.answer(self._life)

    def _decided(self, decision: Decision, request: SignOffRequest, certificate: str | None) -> SignedOff:
        return SignedOff(
            smart_contract_id=self._name,
            test_id=request.test_id,
            role=decision.role,
            person=decision.person,
            decision=decision.decision,
            meaning=decision.meaning,
            reason=request.reason,
            content_hash=decision.content_hash,
            qualification=certificate,
        )

    async def _ask(self, due: TimedStep) -> None:
        """Nobody gave the next sign-off: whoever should is reminded, then the production manager is told."""
        self._life.asked += 1
        self._life.reminders += 1
        action = "remind_signoff" if due.kind is StepKind.REMIND else "escalate_signoff"
        event = f"{action}:{self._life.reminders}"
        waited = f"since {self._life.waits_since.isoformat()}" if self._life.waits_since else ""
        text = f"{self._name} waits for sign-offs {waited}: {self._open_signoffs}. It is asked of a {due.owner}."
        over = self._over("signoff_waits")  # one is open at a time, and its owner is whoever is asked now
        alert = self._lasting(event, "signoff_waits", text, due.owner)
        await self._book.enter(action, event, excerpt(text), {"owner": due.owner}, *over, alert)

    # --- authorization --------------------------------------------------------------------------------------

    async def _authorize(self) -> None:
        request = AuthorizationRequest(
            smart_contract_id=self._name,
            revision=self._life.revision,
            replaces=self._life.replaces,
            begun=self._begun,
            current=self._life.current,
            approvals=tuple(self._life.signoffs),
            at=workflow.now(),
        )
        try:
            package = await self._at_node(
                NodeActivities.authorize, request, "authorize the results", "authorization_late", final=True
            )
        except NodeRefused as refused:
            await self._not_authorized(str(refused))
            return
        await self._authorized(package)
        await self._transfer(package)

    async def _not_authorized(self, reason: str) -> None:
        """Repeating cures nothing: a person looks, and gives the results again."""
        reason = excerpt(f"the Guardian of {self._start.node_id} refuses: {reason}")
        self._life.rework_reason = reason
        event = f"authorization_refused:{self._life.revision}"
        text = f"{self._name}: {reason}. Mend it, and give results again."
        await self._book.enter(
            "authorization_refused",
            event,
            reason,
            {"revision": self._life.revision},
            self._row(rework_reason=reason),
            self._book.alert(event, "authorization_refused", text),
        )

    async def _authorized(self, package: AuthorizationPackage) -> None:
        data = package.test_data
        self._life.package_id = package.package_id
        self._life.closed = data.verdict is TestVerdict.ACCEPT
        await record(
            LedgerEntry(
                idempotency_key=f"{package.package_id}:authorize",
                action_type="guardian",
                action="authorize_package",
                target=package.package_id,
                details=f"{package.package_id} authorized by the Guardian of {data.node_id}: {data.verdict}",
                smart_id=data.node_id,
                metadata={
                    "smart_contract_id": self._name,
                    "clientpo_id": package.clientpo_id,
                    "revision": data.revision,
                    "verdict": data.verdict,
                    "content_hash": package.content_hash,
                    "key_id": package.guardian_signature.key_id,
                },
            ),
            opened(package),
            self._row(package_id=package.package_id, authorized_now=True),
        )

    async def _transfer(self, package: AuthorizationPackage) -> None:
        """One that failed was never a transfer: the Gatekeeper refused what it was started with."""
        try:
            await workflow.start_child_workflow(
                "TransferWorkflow",
                TransferStart(package=package),
                id=names.transfer_id(package.package_id),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                search_attributes=search_attributes(
                    PackageStatus.AUTHORIZED,
                    part=self._po.part,
                    node=self._start.node_id,
                    order=self._po.clientpo_id,
                ),
                static_summary=f"{package.package_id} · {self._po.client} · part {self._po.part}"[:200],
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("%s is transferred already", package.package_id)

    async def _dispose(self, item: Item, disposed: Disposed) -> None:
        if disposed.package_id == self._life.replaces:
            return  # it is being tested again already
        if disposed.package_id != self._life.package_id or self._life.closed:
            await self._book.refuse_request(item, f"{disposed.package_id} does not wait for a disposition here")
            return
        disposition = await step(
            TestExecutionActivities.read_disposition, disposed, summary=f"disposition of {disposed.package_id}"
        )
        match disposition:
            case None:
                await self._book.refuse_request(item, f"{disposed.package_id} has no disposition", looked=True)
            case Disposition.REWORK:
                await self._reopen(disposed.package_id)
            case _:
                self._life.closed = True

    async def _reopen(self, package_id: str) -> None:
        reason = f"disposition of {package_id}: {Disposition.REWORK}"
        self._life.reopen(reason)
        await self._book.enter(
            "reopen_test",
            f"reopen_test:{package_id}",
            f"To be tested again: {reason}",
            {"replaces": package_id},
            self._row(performer=None, begun=None, package_id=None, rework_reason=reason),
            *self._void(self._tests),
        )

    # --- asking the node ------------------------------------------------------------------------------------

    async def _at_node(
        self,
        activity: Callable[[NodeActivities, Argument], Result],
        argument: Argument,
        what: str,
        late: str,
        *,
        final: bool = False,
    ) -> Result:
        """Asks until the node has answered; raises `NodeRefused`. `late` is the alert of a node that does not.

        What is `final` may have happened, so nobody gives it up; else an abort does not wait for it.
        """
        node = self._start.node_id
        asked = ask_node(node, activity, argument, summary=f"{node}: {what}")

        def over() -> bool:
            return asked.done() or (not final and self._inbox.holds(AbortRequest))

        self._show(f"Waits for node {node} to {what}: moved on by the worker of that node")
        try:
            await workflow.wait_condition(
                over, timeout=self._start.late_after, timeout_summary=f"alert when {node} does not answer"
            )
        except TimeoutError:
            # Done and late at once is what a worker sees that takes over from a killed one: then it is not late.
            if not (over() and workflow.patched(ANSWERED_IN_TIME)):
                await self._node_late(what, late)
                await workflow.wait_condition(over)
        if asked.done():
            await self._node_answered(what, late)
        else:
            asked.cancel()
        try:
            return await asked
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise NodeRefused("the test is aborted") from error
            cause = error.cause
            raise NodeRefused(cause.message if isinstance(cause, ApplicationError) else str(cause)) from error

    async def _node_late(self, what: str, alert_type: str) -> None:
        self._life.delays += 1
        event = f"{alert_type}:{self._life.delays}"
        text = (
            f"Node {self._start.node_id} has not answered for {self._start.late_after} s, asked to {what} "
            f"({self._name}). It goes on by itself when the node's worker is back: start it."
        )
        await self._book.enter(alert_type, event, text, {}, self._lasting(event, alert_type, text))

    async def _node_answered(self, what: str, late: str) -> None:
        if over := self._over(late):
            text = f"Node {self._start.node_id} has answered, asked to {what}"
            await self._book.enter("node_answered", f"node_answered:{self._life.delays}", text, {}, *over)

    # --- recording ------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        row = TestOpened(
            smart_contract_id=self._name,
            clientpo_id=self._po.clientpo_id,
            node_id=self._start.node_id,
            status=TestStatus.WAITING,
        )
        text = f"Waits for its test at {self._start.node_id}"
        metadata = {"tests": self._tests, "document_hash": self._start.document_hash}
        await self._book.enter("await_test", "await_test", text, metadata, row)

    def _row(self, **changes: Any) -> TestChanged:
        """The row's change; status and open sign-offs are what they follow from."""
        return TestChanged(
            smart_contract_id=self._name, status=self._status, open_signoffs=self._open_signoffs, **changes
        )

    def _void(self, test_ids: Iterable[str]) -> list[SignOffsVoided]:
        """What was decided on earlier results, rejections too; at first there are none."""
        if self._life.revision == 0:
            return []
        return [SignOffsVoided(smart_contract_id=self._name, test_id=test_id) for test_id in test_ids]

    def _lasting(self, event: str, alert_type: str, text: str, owner: Role | None = None) -> AlertRaised:
        raised = self._book.alert(event, alert_type, text, owner=owner)
        if raised.alert.cause not in self._life.alerted:
            self._life.alerted.append(raised.alert.cause)
        return raised

    def _over(self, *alert_types: str) -> list[AlertResolved]:
        """Of those of these types that are open."""
        causes = [alert_cause(alert_type, self._name) for alert_type in alert_types]
        over = [cause for cause in causes if cause in self._life.alerted]
        self._life.alerted = [cause for cause in self._life.alerted if cause not in over]
        return [AlertResolved(cause=cause) for cause in over]

    # --- what it knows --------------------------------------------------------------------------------------

    @property
    def _begun(self) -> Begun:
        if self._life.begun is None:
            raise RuntimeError("this test has not begun")
        return self._life.begun

    @property
    def _tests(self) -> list[str]:
        return [test.test_id for test in self._po.tests]

    def _hash(self, test_id: str) -> str:
        """What a sign-off of this test signs."""
        found = self._life.content_hash(self._name, test_id)
        if found is None:
            raise RuntimeError(f"{test_id} has no results")
        return found

    @property
    def _missing(self) -> str:
        return "; ".join(self._life.missing)

    @property
    def _open_signoffs(self) -> str | None:
        """For people; there is nothing to sign before there are results."""
        waits = self._status is TestStatus.AWAITING_SIGNOFF
        return sentence(self._life.open_signoffs(self._po)) if waits else None

    # --- the operator's eye ---------------------------------------------------------------------------------

    def _show(self, *asking: str) -> None:
        life, status = self._life, self._status
        view = outlook(
            status,
            node=self._start.node_id,
            performer=life.begun.performer if life.begun else None,
            missing=self._missing,
            open_signoffs=self._open_signoffs,
            hold_reason=life.hold_reason,
            rework_reason=life.rework_reason,
        )
        lines = [f"**{status}** · waits for {view.waits_for}", f"Moved on by: {view.moved_on_by}", *asking]
        if status is TestStatus.AUTHORIZED and not life.closed:
            lines.append(f"Its results are not accepted: the disposition of {life.package_id} says what comes next")
        if not life.closed and status not in {TestStatus.AUTHORIZED, TestStatus.AUTHORIZING}:
            lines.append(
                "To act, send a signal: `hold`, `resume`, `abort` with "
                '`{"reason": "why"}`, `start` with `{"performer": "who", "instruments": ["ID"]}`'
            )
            lines += self._how_to_sign()
        if life.last_refusal:
            lines.append(f"⚠ {life.last_refusal}")
        workflow.set_current_details("\n\n".join(lines))
        show_status(status)

    def _how_to_sign(self) -> Iterable[str]:
        open_ = {test_id for test_id, _ in self._life.open_signoffs(self._po)}
        for test in self._po.tests:
            if test.test_id in self._life.current and test.test_id in open_:
                workflow_id = names.test_execution_id(self._name)
                yield (
                    f"To sign {test.test_id}: `smartfloor decide {workflow_id} sign --meaning reviewed --hash "
                    f"{self._hash(test.test_id)}` (or `reject`, with `--meaning rejected`) prints a token; signal "
                    f'`sign_off` with `{{"test_id": "{test.test_id}", "token": "..."}}`'
                )


def _who(signoffs: Iterable[SignOff]) -> list[str]:
    return [f"{signoff.test_id}: {signoff.person} ({signoff.role})" for signoff in signoffs]
