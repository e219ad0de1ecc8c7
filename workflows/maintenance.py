"""One version of a maintenance contract, from its draft until it is archived (specification 3).

What it does next follows from its state alone; messages come first. How it is deployed is told in
`workflows.maintenance_deployment`. What happens on a node is another workflow's (`workflows.contract_on_node`): this
one is told that something changed, and reads what was recorded. So it is small however many nodes there are, and may
continue as new at any time.
"""

import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from temporalio import workflow

from activities.maintenance import MaintenanceActivities
from schemas import names
from schemas.alert import cause_of
from schemas.approval import ApprovalEnded
from schemas.changes.alert import AlertResolved
from schemas.changes.maintenance import ContractChanged
from schemas.maintenance import IN_FORCE, RETIRED, ContractStatus, validate
from schemas.maintenance_life import (
    REQUESTS,
    ContractEnd,
    ContractLife,
    ContractRequest,
    ContractStart,
    DeployContract,
    DeploymentsChanged,
    PendingDeployment,
    RetireContract,
    ReviseContract,
    ValidateContract,
    contract_outlook,
    retirement_wanted,
)
from schemas.maintenance_orders import NodeOrders, OrdersRefused
from schemas.maintenance_version import VersionRef, title_of
from schemas.record import Change
from workflows.approval import cancel_approval, outcome_of
from workflows.book import Book
from workflows.decisions import proof_of, verify
from workflows.inbox import Inbox, Item, Refused
from workflows.maintenance_deployment import Deployment, row_of
from workflows.search_attributes import show_status
from workflows.steps import regular_step, step

MESSAGES: dict[str, type[BaseModel]] = {
    **REQUESTS,
    names.APPROVAL_ENDED: ApprovalEnded,
    names.DEPLOYMENTS_CHANGED: DeploymentsChanged,
}


@workflow.defn
class MaintenanceContractWorkflow:
    """Workflow ID `maintenance/{contract_id}/{version}`; started once its row is committed as a draft."""

    @workflow.init
    def __init__(self, start: ContractStart) -> None:
        self._start = start
        self._ref = VersionRef(contract_id=start.contract_id, version=start.version)
        self._life = start.life or ContractLife(
            document=start.document, document_hash=start.document_hash, changes=start.changes
        )
        self._handled = 0
        self._book = Book(
            key=start.workflow_id,
            source=start.workflow_id,
            action_type="maintenance",
            target=start.contract_id,
            metadata={"version": start.version},
            life=self._life,
        )
        self._deployment = Deployment(start, self._ref, self._life, self._book)
        self._inbox = Inbox(
            signals=MESSAGES, updates=REQUESTS, refusal=self._life.refusal, signals_before=start.signals
        )

    @workflow.run
    async def run(self, start: ContractStart) -> ContractEnd:
        reason = "a contract is not cancelled: retire it, with a reason"
        return await self._inbox.outlive_cancel(self._live(), Refused(reason=reason))

    async def _live(self) -> ContractEnd:
        if self._start.life is not None and workflow.info().continued_run_id is None:
            # Started again where it stood: nobody told it what its nodes said meanwhile.
            self._inbox.put("restart", names.DEPLOYMENTS_CHANGED, DeploymentsChanged())
            await self._hear()
        while self._life.status is not ContractStatus.ARCHIVED:
            self._show()
            if self._inbox:
                await self._handle(self._inbox.next())
                self._handled += 1
            elif self._handled and workflow.info().is_continue_as_new_suggested():
                await self._continue_as_new()
            elif not await self._go_on():
                await self._wait()
        self._show()
        while not await self._inbox.drained():
            await self._handle(self._inbox.next())
        return ContractEnd(contract_id=self._ref.contract_id, version=self._ref.version, status=self._life.status)

    async def _hear(self) -> None:
        """The answer that nobody could give to a workflow that was closed."""
        pending = self._life.deployment
        if pending is None or pending.approved_by is not None:
            return
        ended = ApprovalEnded(approval_id=pending.approval_id)
        if await outcome_of(ended) is not None:
            self._inbox.put("restart", names.APPROVAL_ENDED, ended)

    async def _continue_as_new(self) -> None:
        if await self._inbox.drained():
            kept = {"life": self._life, "signals": self._inbox.signals}
            workflow.continue_as_new(self._start.model_copy(update=kept))

    # --- what follows from its state ------------------------------------------------------------------------

    async def _go_on(self) -> bool:
        """Does the next thing that nobody has to ask for; False where there is none now."""
        life = self._life
        match life.status:
            case ContractStatus.VALIDATED if life.approved and self._is_past(life.publish_again):
                await self._deployment.publish(life.approved)
            case ContractStatus.DEPLOYED if not life.sent:
                refused = await self._send(retire=False)
                life.sent = True
                if refused is not None:
                    await self._crossed(refused.reason)
            case ContractStatus.DEPLOYED | ContractStatus.ACTIVE | ContractStatus.MONITORING if (
                life.approved and self._is_past(life.publish_again)
            ):
                await self._extend(life.approved)
            case ContractStatus.ACTIVE if not self._is_past(life.monitored_until):
                await self._monitor()
            case ContractStatus.MONITORING if self._is_past(life.monitored_until):
                await self._end_monitoring()
            case ContractStatus.DEPRECATED if not life.ended_on_nodes:
                if life.number is not None:
                    await self._send(retire=True)
                life.ended_on_nodes = True
                await self._look()
            case _:
                return False
        return True

    async def _wait(self) -> None:
        life = self._life
        publish_again = life.publish_again if life.approved else None
        monitored_until = life.monitored_until if life.status is ContractStatus.MONITORING else None
        due = min((moment for moment in (publish_again, monitored_until) if moment), default=None)
        if due is None:
            await self._inbox.filled(None)
            return
        left = max((due - workflow.now()).total_seconds(), 0)
        await self._inbox.filled(left, f"{life.status} until {due.isoformat()}")

    def _is_past(self, moment: datetime | None) -> bool:
        return moment is None or workflow.now() >= moment

    async def _extend(self, approved: PendingDeployment) -> None:
        """To further nodes: they are told at once, because the state that this leaves behind says nothing of them."""
        if not await self._deployment.publish(approved):
            return
        refused = await self._send(retire=False)
        if refused is not None:
            await self._deployment.take_back(approved, refused.reason)
            await self._look()

    async def _send(self, *, retire: bool) -> OrdersRefused | None:
        """Each node by a workflow of its own; none where another deployment was recorded just before this one."""
        life, ref = self._life, self._ref
        orders = NodeOrders(
            contract_id=ref.contract_id,
            version=ref.version,
            number=life.number or 0,
            document_hash=life.document_hash,
            file_hash=life.file_hash or "",
            late_after=self._start.late_after,
            retire=retire,
        )
        summary = f"{'end' if retire else 'begin'} {ref} on its nodes"
        return await regular_step(MaintenanceActivities.send_orders, orders, summary=summary)

    # --- what comes in --------------------------------------------------------------------------------------

    async def _handle(self, item: Item) -> None:
        match item.payload:
            case Refused() as refused:
                await self._book.refuse_request(item, refused.reason)
            case ApprovalEnded() as ended:
                await self._deployment.approval_ended(item, ended)
            case DeploymentsChanged():
                while self._inbox.take(DeploymentsChanged):
                    pass  # they all say the same
                await self._look()
            case ContractRequest() as request:
                await self._handle_request(item, request)

    async def _handle_request(self, item: Item, request: ContractRequest) -> None:
        reason = self._life.refusal(request)
        if reason is not None:
            await self._book.refuse_request(item, reason)
            return
        self._life.last_refusal = None
        match request:
            case ReviseContract():
                await self._revise(item, request)
            case ValidateContract():
                await self._validate(item, request)
            case DeployContract():
                await self._deployment.ask(item, request)
            case RetireContract():
                await self._retire(item, request)

    async def _revise(self, item: Item, request: ReviseContract) -> None:
        life = self._life
        try:
            life.revise(request.document, self._start.parent, request.reason)
        except ValueError as error:
            await self._book.refuse_request(item, str(error))
            return
        await self._book.enter(
            "revise_contract",
            self._book.numbered("revise", item),
            f"Revised: {request.reason}",
            {"document_hash": life.document_hash, "changes": _listed(life)},
            self._row(
                title=title_of(life.document),
                document=json.dumps(life.document, ensure_ascii=False),
                document_hash=life.document_hash,
                changes=json.dumps(_listed(life), ensure_ascii=False) if self._start.parent else None,
                faults=None,
            ),
            user_id=item.sender(request.user_id),
            asked=item.asked,
        )
        item.answer(life)

    async def _validate(self, item: Item, request: ValidateContract) -> None:
        life = self._life
        found = life.validation = validate(life.document)
        if found.valid:
            life.enter(ContractStatus.VALIDATED)
        await self._book.enter(
            "validate_contract",
            self._book.numbered("validate", item),
            f"Contract validation {'passed' if found.valid else 'failed'}",
            {
                "structure_valid": not found.structure,
                "logic_valid": not found.logic,
                "conditions_valid": not found.conditions,
                "faults": list(found.faults),
                "document_hash": life.document_hash,
            },
            self._row(faults=found.model_dump_json(), validated_now=found.valid),
            user_id=item.sender(request.user_id),
            asked=item.asked,
        )
        item.answer(life)

    # --- what its nodes said --------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Moves on where that follows from what is recorded of its nodes.

        From its own state, not its row's: a worker that was killed may have recorded already what follows here.
        """
        progress = await step(MaintenanceActivities.read_progress, self._ref, summary=f"where is {self._ref} in force?")
        match progress and progress.model_copy(update={"status": self._life.status}).next:
            case ContractStatus.ACTIVE:
                self._life.enter(ContractStatus.ACTIVE)
                self._life.active_since = workflow.now()
                await self._book.enter(
                    "activate_contract",
                    "activate",
                    f"{self._ref} is acknowledged by all of its nodes",
                    {"success_count": progress.acknowledged if progress else 0},
                    self._row(active_now=True),
                    asked=True,  # what was read stands in the history before it is recorded
                )
            case ContractStatus.DEPRECATED:
                await self._deprecate("superseded by a newer version, or its nodes are gone", "superseded")
            case ContractStatus.ARCHIVED:
                self._life.enter(ContractStatus.ARCHIVED)
                await self._book.enter(
                    "archive_contract", "archive", f"{self._ref} is archived", {}, self._row(archived_now=True)
                )

    async def _monitor(self) -> None:
        self._life.enter(ContractStatus.MONITORING)
        await self._book.enter(
            "monitor_contract", "monitor", f"Alerts of {self._ref} are watched for its first 30 days", {}, self._row()
        )

    async def _end_monitoring(self) -> None:
        self._life.enter(ContractStatus.ACTIVE)
        await self._book.enter(
            "end_monitoring", "end_monitoring", f"The first 30 days of {self._ref} are over", {}, self._row()
        )

    # --- its end --------------------------------------------------------------------------------------------

    async def _retire(self, item: Item, request: RetireContract) -> None:
        life = self._life
        verdict = await verify(request.token, retirement_wanted(self._ref), life.tokens)
        decision = verdict.decision
        if decision is None or verdict.refusal is not None:
            await self._book.refuse_decision(item, verdict.refusal or "", verdict.person)
            return
        await self._deprecate(request.reason, "retire", proof_of(decision, request.token), user_id=decision.person)
        item.answer(life)

    async def _crossed(self, reason: str) -> None:
        """Two were approved at the same moment: this one was recorded second, no node has heard of it."""
        text = f"{self._ref} was deployed while another version was, and is retired: {reason}"
        await self._deprecate(
            reason, "crossed", None, self._book.alert("crossed", "request_refused", text, names.DEPLOY)
        )

    async def _deprecate(
        self,
        reason: str,
        event: str,
        metadata: dict[str, Any] | None = None,
        *changes: Change,
        user_id: str = "system",
    ) -> None:
        """Recorded after the workflow task, because it says how long the version was active until now."""
        life = self._life
        pending, life.deployment = life.deployment, None
        life.publish_fault = life.publish_again = None
        life.enter(ContractStatus.DEPRECATED)
        life.retirement_reason = reason
        active = (workflow.now() - life.active_since).days if life.active_since else 0
        await self._book.enter(
            "retire_contract",
            event,
            f"Contract retired: {reason}",
            {"retirement_reason": reason, "active_duration_days": active, **(metadata or {})},
            self._row(retirement_reason=reason, deprecated_now=True, pending_approval=None, publish_fault=None),
            AlertResolved(cause=cause_of("policy_fault", self._start.workflow_id)),
            *changes,
            user_id=user_id,
            asked=True,
        )
        if pending is not None:
            await cancel_approval(pending.approval_id, f"{self._ref} is retired")

    # --- recording ------------------------------------------------------------------------------------------

    def _row(self, **columns: Any) -> ContractChanged:
        return row_of(self._ref, self._life, **columns)

    # --- the operator's eye ---------------------------------------------------------------------------------

    def _show(self) -> None:
        life = self._life
        view = contract_outlook(
            life.status,
            faults=len(life.validation.faults) if life.validation else 0,
            pending_approval=life.deployment.approval_id if life.deployment else None,
            publish_fault=life.publish_fault,
        )
        lines = [
            f"**{self._ref}** · {title_of(life.document)}",
            f"**{life.status}** · waits for {view.waits_for}",
            f"Moved on by: {view.moved_on_by}",
            f"Hash: `{life.document_hash}`",
        ]
        if life.status is ContractStatus.DRAFT and life.validation:
            lines += [f"- {fault}" for fault in life.validation.faults[:20]]
        if life.status is ContractStatus.DRAFT:
            lines.append("To act, send a signal: `validate` with `{}`, `revise` with a `document` and a `reason`")
        if life.status in IN_FORCE:
            lines.append(f"Nodes that have not answered are the open workflows `{self._start.workflow_id}/…`")
        if life.status not in RETIRED:
            lines.append(_how_to_retire(self._ref))
        if life.last_refusal:
            lines.append(f"⚠ {life.last_refusal}")
        workflow.set_current_details("\n\n".join(lines))
        show_status(life.status)


def _listed(life: ContractLife) -> list[dict[str, Any]]:
    return [change.model_dump(mode="json") for change in life.changes]


def _how_to_retire(ref: VersionRef) -> str:
    """By hand, in the Temporal Web UI."""
    wanted = retirement_wanted(ref)
    return (
        f"To retire it: `smartfloor decide {wanted.workflow_id} {names.RETIRE} --hash {wanted.content_hash}` prints a "
        'token; signal `retire` with `{"reason": "why", "token": "..."}`'
    )
