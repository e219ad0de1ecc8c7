"""How a version of a maintenance contract is deployed: asked for by one person, approved by another, then published.

Called by the main loop of `workflows.maintenance`, which goes on from the state that this leaves behind.
"""

from typing import Any

from temporalio import workflow

from activities.maintenance import MaintenanceActivities
from schemas import names
from schemas.alert import cause_of
from schemas.approval import ApprovalEnded, ApprovalStatus
from schemas.changes.alert import AlertResolved
from schemas.changes.maintenance import ContractChanged, DeploymentChanged, DeploymentOpened
from schemas.maintenance import ContractStatus, DeploymentStatus
from schemas.maintenance_life import (
    ContractLife,
    ContractStart,
    DeployContract,
    PendingDeployment,
    deployment_approval_id,
    deployment_request,
    deployment_wanted,
)
from schemas.maintenance_orders import WantedNodes, gap_cause
from schemas.maintenance_version import VersionRef
from schemas.policy_repository import Publication
from schemas.record import Change
from workflows import retry
from workflows.approval import ask_approval, outcome_of
from workflows.book import Book
from workflows.decisions import proof_of, verify
from workflows.inbox import Item
from workflows.steps import step

DEPLOYED_AFTER_THE_TASK = "deployments are recorded after the task"
"""A look that is done again after its own deployment was recorded finds the nodes taken by it."""


def row_of(ref: VersionRef, life: ContractLife, **columns: Any) -> ContractChanged:
    """The change of a version's row; the status is where its life stands."""
    return ContractChanged(contract_id=ref.contract_id, version=ref.version, status=life.status, **columns)


class Deployment:
    """Of one version, from the wish until its file lies in the policy repository and its nodes may be told."""

    def __init__(self, start: ContractStart, ref: VersionRef, life: ContractLife, book: Book) -> None:
        self._start = start
        self._ref = ref
        self._life = life
        self._book = book

    async def ask(self, item: Item, request: DeployContract) -> None:
        """Has a second person asked, for exactly the nodes that are chosen now."""
        life = self._life
        chosen = await step(
            MaintenanceActivities.choose_nodes,
            WantedNodes(**dict(self._ref), nodes=request.nodes),
            summary=f"which nodes does {self._ref} go to?",
        )
        if chosen.refusal is not None:
            await self._book.refuse_request(item, chosen.refusal, looked=True)
            return
        wanted = deployment_wanted(self._ref, life.document_hash, chosen.nodes)
        verdict = await verify(request.token, wanted, life.tokens)
        decision = verdict.decision
        if decision is None or verdict.refusal is not None:
            await self._book.refuse_decision(item, verdict.refusal or "", verdict.person)
            return
        life.asked += 1
        asked = deployment_request(self._start, life, chosen.nodes, reason=request.reason, requested_by=decision.person)
        if not await ask_approval(asked):
            await self._book.refuse_decision(
                item, f"{asked.approval_id} exists and was not asked for here", decision.person
            )
            return
        life.deployment = PendingDeployment(
            approval_id=asked.approval_id, content_hash=asked.content_hash, nodes=chosen.nodes
        )
        await self._book.enter(
            "ask_approval",
            self._book.numbered("ask_deployment", item),
            f"Asked that {self._ref} be deployed to {len(chosen.nodes)} nodes: {request.reason}",
            {
                "approval_id": asked.approval_id,
                "approval_hash": asked.content_hash,
                "nodes": list(chosen.nodes),
                "document_hash": life.document_hash,
                **proof_of(decision, request.token),
            },
            row_of(self._ref, life, pending_approval=asked.approval_id),
            user_id=decision.person,
            asked=True,
        )
        item.answer(life)

    async def approval_ended(self, item: Item, ended: ApprovalEnded) -> None:
        """What the signal says is looked up: anybody can send one. Being told again changes nothing."""
        life = self._life
        pending, outcome = life.deployment, await outcome_of(ended)
        given_up = {deployment_approval_id(self._ref, number) for number in range(1, life.asked + 1)}
        if (pending is None or pending.approved_by is not None) and ended.approval_id in given_up:
            return
        if (
            pending is None
            or outcome is None
            or (pending.approval_id, pending.content_hash) != (ended.approval_id, outcome.content_hash)
        ):
            await self._book.refuse_request(
                item, f"{ended.approval_id} has not ended, or nothing waits for it here", looked=True
            )
        elif outcome.status is ApprovalStatus.APPROVED and outcome.decided_by is not None:
            life.deployment = pending.model_copy(update={"approved_by": outcome.decided_by})
            await self._book.enter(
                "approve_deployment",
                f"approved:{ended.approval_id}",
                f"The deployment of {self._ref} is approved: it is published",
                {"approval_id": ended.approval_id, "nodes": list(pending.nodes)},
                row_of(self._ref, life, pending_approval=None),
                user_id=outcome.decided_by,
            )
        else:
            await self._keep(ended.approval_id, f"{ended.approval_id} is {outcome.status}", outcome.decided_by)

    async def _keep(self, approval_id: str, reason: str, user_id: str | None, *changes: Change) -> None:
        """It is not deployed, and may be asked for again."""
        life = self._life
        nodes = life.deployment.nodes if life.deployment else ()
        life.deployment = life.publish_fault = life.publish_again = None
        await self._book.enter(
            "keep_contract",
            f"keep:{approval_id}",
            f"{self._ref} is not deployed to {len(nodes)} nodes: {reason}",
            {"approval_id": approval_id, "reason": reason},
            row_of(self._ref, life, pending_approval=None, publish_fault=None),
            AlertResolved(cause=cause_of("policy_fault", self._start.workflow_id)),
            *changes,
            user_id=user_id or "system",
            asked=True,  # what was read stands in the history before it is recorded
        )

    async def publish(self, approved: PendingDeployment) -> bool:
        """Into the policy repository; its nodes are told next. The number of the entry is that of the deployment.

        What its nodes have is looked at again: another version may have come there while this one was waited for.
        A version that is in force already keeps its state. False where it is not published, or not yet.
        """
        life, ref = self._life, self._ref
        chosen = await step(
            MaintenanceActivities.choose_nodes,
            WantedNodes(**dict(ref), nodes=approved.nodes),
            summary=f"may {ref} still go there?",
        )
        if chosen.refusal is not None:
            text = f"{ref} is approved and not deployed: {chosen.refusal}"
            alert = self._book.alert(f"keep:{approved.approval_id}", "request_refused", text, names.DEPLOY)
            await self._keep(approved.approval_id, chosen.refusal, None, alert)
            return False
        published = await step(
            MaintenanceActivities.publish_contract,
            Publication(contract_id=ref.contract_id, version=ref.version, document=life.document),
            summary=f"publish {ref}",
        )
        if published.file_hash is None:
            await self._not_published(published.fault or "")
            return False
        life.file_hash, life.deployment = published.file_hash, None
        life.publish_fault = life.publish_again = None
        first = life.status is ContractStatus.VALIDATED
        if first:
            life.enter(ContractStatus.DEPLOYED)
        columns: dict[str, Any] = {"deployed_now": True} if first else {}
        if chosen.whole_type:
            columns["whole_type"] = True
        nodes = approved.nodes
        receipt = await self._book.enter(
            "deploy_contract",
            "deploy" if first else f"deploy:{approved.approval_id}",
            f"SmartMaintenance contract deployed to {len(nodes)} {'nodes' if first else 'further nodes'}",
            {
                "nodes": list(nodes),
                "path": published.path,
                "file_hash": published.file_hash,
                "document_hash": life.document_hash,
                "approval_id": approved.approval_id,
                "approval_hash": approved.content_hash,
            },
            row_of(self._ref, life, file_hash=published.file_hash, publish_fault=None, **columns),
            *(DeploymentOpened(contract_id=ref.contract_id, version=ref.version, node_id=node) for node in nodes),
            *(AlertResolved(cause=gap_cause(ref, node)) for node in nodes if not first),
            AlertResolved(cause=cause_of("policy_fault", self._start.workflow_id)),
            user_id=approved.approved_by or "",
            asked=workflow.patched(DEPLOYED_AFTER_THE_TASK),
        )
        life.number = receipt.seq
        return True

    async def take_back(self, extended: PendingDeployment, reason: str) -> None:
        """Two were approved at the same moment for a further node: this one was recorded second, no such node has heard
        of it. Where it was in force before, it stays so.
        """
        ref = self._ref
        event = f"crossed:{extended.approval_id}"
        text = f"{ref} is not deployed to {len(extended.nodes)} further nodes: {reason}"
        ended = {"contract_id": ref.contract_id, "version": ref.version, "status": DeploymentStatus.RETIRED}
        await self._book.enter(
            "keep_contract",
            event,
            text,
            {"approval_id": extended.approval_id, "nodes": list(extended.nodes), "reason": reason},
            *(DeploymentChanged(node_id=node, **ended) for node in extended.nodes),
            self._book.alert(event, "request_refused", text, names.DEPLOY),
            asked=True,
        )

    async def _not_published(self, fault: str) -> None:
        """Alerted once for the same fault; tried again until a person has mended it."""
        life = self._life
        life.publish_again = workflow.now() + retry.LONGEST_PAUSE
        if life.publish_fault == fault:
            return
        life.publish_fault = fault
        life.publish_faults += 1
        event = f"policy_fault:{life.publish_faults}"
        text = f"{self._ref} is approved and cannot be published: {fault}. Mend it; it goes on by itself."
        alert = self._book.alert(event, "policy_fault", text)
        await self._book.enter(
            "policy_fault", event, text, {}, row_of(self._ref, life, publish_fault=fault), alert, asked=True
        )
