"""One version of a maintenance contract on one node: it comes into force there, or ends there.

A workflow for each node, so that one that is away for weeks holds up no other, and is seen by itself in the working
list; and so that the contract's own history stays small, however many nodes there are.
"""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.maintenance import MaintenanceActivities
from activities.maintenance_node import MaintenanceNodeActivities
from schemas import names
from schemas.changes.alert import AlertResolved
from schemas.changes.maintenance import DeploymentChanged, DeploymentsSuperseded
from schemas.maintenance import ContractDelivery, ContractReceipt, ContractRetired, DeploymentStatus
from schemas.maintenance_life import ContractRef, DeploymentsChanged
from schemas.maintenance_orders import NodeOrder
from schemas.maintenance_version import VersionRef
from schemas.policy_repository import PolicyRef
from workflows import retry
from workflows.book import Book
from workflows.inbox import Inbox, Refused
from workflows.steps import ask_node, step, tell

if TYPE_CHECKING:
    from schemas.record import Change


@workflow.defn
class ContractOnNodeWorkflow:
    """Workflow ID `maintenance/{contract_id}/{version}/{node_id}`, with `/end` where the version ends there.

    Its result is what the node said, or None where the version was retired or superseded before it could be asked,
    or the node is gone. A node that is away is waited for: what it is to do waits in its queue.
    """

    @workflow.init
    def __init__(self, order: NodeOrder) -> None:
        self._order = order
        self._late = order.late
        self._refused = order.refused
        self._faulty = order.faulty
        self._book = Book(
            key=order.workflow_id,
            source=order.workflow_id,
            action_type="maintenance",
            target=order.contract_id,
            smart_id=order.node_id,
            metadata={"version": order.version, "node_id": order.node_id, "number": order.number},
        )
        self._changed = False
        told = {names.DEPLOYMENTS_CHANGED: DeploymentsChanged}
        self._inbox = Inbox(signals=told, updates={}, signals_before=order.signals)

    @workflow.run
    async def run(self, order: NodeOrder) -> ContractReceipt | None:
        reason = "what a node is to do is not cancelled: retire the version, or start the node's worker"
        return await self._inbox.outlive_cancel(self._live(), Refused(reason=reason))

    async def _live(self) -> ContractReceipt | None:
        if self._order.retire:
            await self._withdraw()
        while (receipt := await self._try()) is None:
            await self._pause()
            if not await self._is_wanted():
                await self._give_up()
                break
            await self._continue_as_new()
        else:
            await self._record(receipt)
            await self._tell()
        while not await self._inbox.drained():
            await self._handle()
        return receipt

    async def _withdraw(self) -> None:
        """A node that has not taken the version yet must not: it would lose for it the one that it has."""
        order = self._order.model_copy(update={"retire": False})
        await tell(order.workflow_id, names.DEPLOYMENTS_CHANGED, DeploymentsChanged())

    async def _continue_as_new(self) -> None:
        if workflow.info().is_continue_as_new_suggested() and await self._inbox.drained():
            alerted = {"late": self._late, "refused": self._refused, "faulty": self._faulty}
            workflow.continue_as_new(self._order.model_copy(update={**alerted, "signals": self._inbox.signals}))

    async def _try(self) -> ContractReceipt | None:
        """What the node answers; None where a person must mend something first."""
        order = self._order
        self._show(f"{order.node_id} to {'end' if order.retire else 'acknowledge'} it", "the node's worker, by itself")
        if order.retire:
            return await self._ask(None)
        document = await self._document()
        receipt = await self._ask(document) if document is not None else None
        return None if receipt is not None and await self._is_overtaken(receipt) else receipt

    # --- what the node is sent ------------------------------------------------------------------------------

    async def _document(self) -> dict[str, Any] | None:
        """As it was published; one that was changed since is sent nowhere."""
        order = self._order
        ref = PolicyRef(contract_id=order.contract_id, version=order.version, file_hash=order.file_hash)
        file = await step(MaintenanceActivities.read_policy, ref, summary=f"{order.contract_id} {order.version}")
        if file.document is None:
            await self._policy_fault(file.fault or "")
        return file.document

    async def _is_overtaken(self, receipt: ContractReceipt) -> bool:
        """A newer version is there: it ends this one when it is acknowledged, and gives way if it is retired before."""
        order = self._order
        if receipt.number is None or receipt.number <= order.number:
            return False
        self._show(f"the newer version that {order.node_id} has to be acknowledged or retired", "that, by itself")
        self._changed = not await self._is_wanted()
        return True

    async def _pause(self) -> None:
        """Until it is tried again, or something changed; messages are answered meanwhile."""
        over = asyncio.create_task(workflow.sleep(retry.LONGEST_PAUSE, summary="then it is tried again"))
        while not over.done() and not self._changed:
            await workflow.wait_condition(lambda: over.done() or bool(self._inbox))
            if self._inbox:
                await self._handle()
        over.cancel()
        self._changed = False

    async def _policy_fault(self, fault: str) -> None:
        self._show(f"the policy repository: {fault}", "whoever mends that; it goes on by itself within ten minutes")
        if not self._faulty:
            text = f"{fault}. {self._order.node_id} is not sent it; put the file back as it was published."
            event = self._numbered("policy_fault")
            alert = self._book.alert(event, "policy_fault", text)
            await self._book.enter("policy_fault", event, text, {}, alert, asked=True)
        self._faulty = True

    async def _ask(self, document: dict[str, Any] | None) -> ContractReceipt | None:
        """Until the node has answered, beside it the alert that it is late.

        None where it refuses for good, or was not reached before nobody wanted it to be told any more.
        """
        asking = self._asking(document)
        late = asyncio.create_task(
            workflow.sleep(timedelta(seconds=self._order.late_after), summary="alert when the node does not answer")
        )
        while not asking.done():
            await workflow.wait_condition(
                lambda: asking.done() or bool(self._inbox) or (late.done() and not self._late)
            )
            if self._inbox:
                await self._handle()
                self._changed = self._changed and not await self._is_wanted()
                if self._changed:
                    asking.cancel()
            elif late.done() and not self._late and not asking.done():
                await self._is_late()
        late.cancel()
        try:
            return await asking
        except ActivityError as error:
            if not self._changed:
                await self._refused_by_node(str(error.cause))
            return None

    def _asking(self, document: dict[str, Any] | None) -> "workflow.ActivityHandle[ContractReceipt]":
        """One that is given up answers first: it may have happened."""
        order, node = self._order, self._order.node_id
        answered = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        if document is None:
            end = ContractRetired(contract_id=order.contract_id, number=order.number, restores=order.restores)
            what = f"end {self._what} on {node}"
            return ask_node(
                node, MaintenanceNodeActivities.retire_contract, end, summary=what, cancellation_type=answered
            )
        delivery = ContractDelivery(
            contract_id=order.contract_id,
            version=order.version,
            number=order.number,
            document=document,
            document_hash=order.document_hash,
        )
        what = f"send {self._what} to {node}"
        return ask_node(
            node, MaintenanceNodeActivities.take_contract, delivery, summary=what, cancellation_type=answered
        )

    # --- what is recorded -----------------------------------------------------------------------------------

    async def _is_late(self) -> None:
        self._late = True
        order = self._order
        text = (
            f"{order.node_id} has not {'ended' if order.retire else 'acknowledged'} {self._what} for "
            f"{order.late_after} s. It happens by itself when the node's worker is back: start it."
        )
        await self._alert("deployment_late", text)

    async def _refused_by_node(self, reason: str) -> None:
        if not self._refused:
            text = f"{self._order.node_id} refuses {self._what}: {reason}. It is sent again every ten minutes: mend it."
            await self._alert("deployment_refused", text)
        self._refused = True

    async def _alert(self, action: str, text: str) -> None:
        """Late or refused, an order that is outstanding at its node is one cause, and ends with the answer."""
        event = self._numbered(action)
        alert = self._book.alert(event, "deployment_late", text, cause=self._order.late_cause)
        await self._book.enter(action, event, text, {}, alert)

    def _numbered(self, event: str) -> str:
        """Once for this run of it: one that was closed from outside and started again may find another fault."""
        return f"{event}:{self._order.signals}"

    @property
    def _what(self) -> str:
        return f"{self._order.contract_id} {self._order.version}"

    async def _record(self, receipt: ContractReceipt) -> None:
        """Also where this one was retired before it came, or what it ends has given way to a newer one already.

        The number that the node tells ends whatever it had before, also where nobody heard it say so; but only once
        that number is acknowledged itself.
        """
        order, status = self._order, _became(self._order, receipt)
        changes: list[Change] = [
            DeploymentChanged(
                contract_id=order.contract_id, version=order.version, node_id=order.node_id, status=status
            )
        ]
        if receipt.number is not None:
            earlier = {"contract_id": order.contract_id, "node_id": order.node_id, "below": receipt.number}
            changes.append(DeploymentsSuperseded(**earlier))
        await self._book.enter(
            "acknowledge_contract",
            "acknowledge",
            _said(order, receipt, status),
            {"status": status, "replaced": receipt.replaced, "in_force": receipt.version},
            *changes,
            *self._resolved,
        )

    async def _is_wanted(self) -> bool:
        """Not where the version was retired or superseded meanwhile, or its node is gone."""
        summary = f"is {self._what} still to be told to {self._order.node_id}?"
        return await step(MaintenanceActivities.is_wanted, self._order, summary=summary)

    async def _give_up(self) -> None:
        text = f"{self._order.node_id} is not told of {self._what} any more: it was retired, or has ended there"
        await self._book.enter("end_order", "end_order", text, {}, *self._resolved)

    @property
    def _resolved(self) -> tuple[AlertResolved, ...]:
        return tuple(AlertResolved(cause=cause) for cause in self._order.causes)

    async def _tell(self) -> None:
        """Only the versions for which something follows: of two hundred nodes one alone has the last word."""
        name = self._order.contract_id
        moved = await step(
            MaintenanceActivities.read_moved, ContractRef(contract_id=name), summary=f"what follows for {name}?"
        )
        for version in moved.versions:
            ref = VersionRef(contract_id=name, version=version)
            await tell(ref.workflow_id, names.DEPLOYMENTS_CHANGED, DeploymentsChanged())

    async def _handle(self) -> None:
        """That something changed is not believed: it is looked up."""
        item = self._inbox.next()
        if isinstance(item.payload, DeploymentsChanged):
            self._changed = True
        elif isinstance(item.payload, Refused):
            await self._book.refuse_request(item, item.payload.reason)

    # --- the operator's eye ---------------------------------------------------------------------------------

    def _show(self, waits_for: str, moved_on_by: str) -> None:
        order = self._order
        workflow.set_current_details(
            f"**{order.contract_id} {order.version}** · waits for {waits_for}\n\nMoved on by: {moved_on_by}"
        )


def _became(order: NodeOrder, receipt: ContractReceipt) -> DeploymentStatus:
    """Only a version that a node has taken supersedes those before it; one that was retired leaves them as they are."""
    if receipt.number is not None and receipt.number > order.number:
        return DeploymentStatus.SUPERSEDED
    if receipt.number == order.number and receipt.version is not None:
        return DeploymentStatus.ACKNOWLEDGED
    return DeploymentStatus.RETIRED


def _said(order: NodeOrder, receipt: ContractReceipt, status: DeploymentStatus) -> str:
    node, what = order.node_id, f"{order.contract_id} {order.version}"
    match status:
        case DeploymentStatus.ACKNOWLEDGED if receipt.replaced is not None:
            return f"{node} executes {what} from now on, in place of {receipt.replaced}"
        case DeploymentStatus.ACKNOWLEDGED:
            return f"{node} executes {what} from now on"
        case DeploymentStatus.SUPERSEDED:
            return f"{node} has taken a newer version than {what}, and executes {receipt.version or 'none'}"
        case _:
            return f"{node} does not execute {what}, it executes {receipt.version or 'none'}"
