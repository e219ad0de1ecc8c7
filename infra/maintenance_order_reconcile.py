"""What nodes are to be told and nobody tells them any more: their workflow was closed from outside, or they are gone.

A node that is not in the registry any more answers nobody: a version counts as ended there, so that it holds up no
other. What it has on its own disk stays; should it come back, the next version that is deployed takes over.
"""

from collections.abc import AsyncIterator

from temporalio.client import Client, WorkflowExecutionStatus

from infra.database import Row
from infra.ledger import Ledger
from infra.maintenance import MaintenanceContracts
from infra.maintenance_orders import NodeOrdering
from infra.registry import Registry
from infra.repairs import GOES_ON, Repairs, closed_from_outside
from infra.settings import Settings
from infra.temporal import workflow_status
from schemas import names
from schemas.alert import Alert, Severity, cause_of
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.changes.maintenance import DeploymentChanged
from schemas.ledger import LedgerEntry
from schemas.maintenance import ContractStatus, DeploymentStatus
from schemas.maintenance_orders import NodeOrder, NodeOrders
from schemas.maintenance_version import VersionRef
from schemas.reconcile import Repaired
from schemas.record import Record


class NodeOrderReconciler:
    """Before the versions take their turn: what follows for them from a node that is gone, they are told then."""

    def __init__(
        self,
        client: Client,
        contracts: MaintenanceContracts,
        ledger: Ledger,
        ordering: NodeOrdering,
        registry: Registry,
        settings: Settings,
    ) -> None:
        self._client = client
        self._contracts = contracts
        self._ledger = ledger
        self._ordering = ordering
        self._registry = registry
        self._late_after = int(settings.deployment_alert_after.total_seconds())

    async def repair(self, repairs: Repairs) -> AsyncIterator[tuple[str, Repaired | None]]:
        """Each version on each node where it is in force or on its way, and what was done for it."""
        after = ("", "", "")
        while rows := await self._contracts.open_deployments(after=after):
            for row in rows:
                after = row["contract_id"], row["version"], row["node_id"]
                order = self._order(row)
                yield order.workflow_id, await repairs.attempt(order.workflow_id, self._repair(order, row))

    def _order(self, row: Row) -> NodeOrder:
        retire = row["contract_status"] == ContractStatus.DEPRECATED
        return NodeOrder(
            **{name: row[name] for name in ("contract_id", "version", "node_id", "number", "document_hash")},
            file_hash=row["file_hash"] or "",
            late_after=self._late_after,
            retire=retire,
            restores=retire and row["status"] == DeploymentStatus.PENDING,
        )

    async def _repair(self, order: NodeOrder, row: Row) -> Repaired | None:
        gone = order.node_id not in self._registry
        if not (gone or order.retire or row["status"] == DeploymentStatus.PENDING):
            return None  # it is in force there
        status = await workflow_status(self._client, order.workflow_id)
        if gone:
            if status is WorkflowExecutionStatus.RUNNING:
                handle = self._client.get_workflow_handle(order.workflow_id)
                await handle.terminate(f"{order.node_id} is gone from the registry")
            await self._end(order)
            return Repaired.CLOSED
        if status in GOES_ON:
            return None
        if status is None:
            return await self._send(order)
        return Repaired.STARTED if await self._start_again(order, status) else None

    async def _send(self, order: NodeOrder) -> Repaired | None:
        """What its version is about to send, or was closed before it could: it may still be refused."""
        if not await self._contracts.is_wanted(order):
            return None  # it was taken back with another node of its deployment
        orders = NodeOrders.model_validate(order.model_dump(include=set(NodeOrders.model_fields)))
        refused = await self._ordering.send(orders)
        if refused is None:
            return Repaired.STARTED
        return Repaired.CLOSED if await self._take_back(order, refused.reason) else None

    async def _take_back(self, order: NodeOrder, reason: str) -> bool:
        """What goes to further nodes, which its version takes for sent once it was started again; recorded as there.

        False for its first deployment: the version sends that once more, and is retired where it is refused.
        """
        deployed = [
            entry
            for entry in await self._ledger.timeline(order.contract_id)
            if entry.action == "deploy_contract" and entry.metadata.get("version") == order.version
        ]
        extended = next((entry.metadata for entry in deployed[1:] if entry.seq == order.number), None)
        if extended is None:
            return False
        version, nodes = VersionRef(contract_id=order.contract_id, version=order.version), extended["nodes"]
        text = f"{version} is not deployed to {len(nodes)} further nodes: {reason}"
        entry = LedgerEntry(
            idempotency_key=f"{version.workflow_id}:crossed:{extended['approval_id']}",
            action_type="maintenance",
            action="keep_contract",
            target=order.contract_id,
            details=text,
            metadata={
                "version": order.version,
                "approval_id": extended["approval_id"],
                "nodes": nodes,
                "reason": reason,
            },
        )
        alert = Alert(
            alert_id=entry.idempotency_key,
            alert_type="request_refused",
            severity=Severity.HIGH,
            source=version.workflow_id,
            subject=order.contract_id,
            text=text,
            cause=cause_of("request_refused", version.workflow_id, names.DEPLOY),
        )
        ended = (_ended(order.model_copy(update={"node_id": node_id})) for node_id in nodes)
        await self._ledger.record(Record(entry=entry, changes=(*ended, AlertRaised(alert=alert))))
        return True

    async def _start_again(self, order: NodeOrder, status: WorkflowExecutionStatus) -> bool:
        timeline = await self._ledger.timeline(order.contract_id)
        number = sum((one.smart_id, one.metadata.get("number")) == (order.node_id, order.number) for one in timeline)
        event = f"{order.workflow_id}:workflow_closed:{number}"
        text = f"What {order.node_id} is told of {order} was {status.name.lower()} from outside. It is told again."
        await self._ledger.record(closed_from_outside(_entry(order, "restart_order", event, text)))
        return await self._ordering.start(order.model_copy(update={"signals": number + 1}))

    async def _end(self, order: NodeOrder) -> None:
        over = (AlertResolved(cause=cause) for cause in order.causes)
        text = f"{order.node_id} is gone from the registry: {order} counts as ended there"
        entry = _entry(order, "end_order", f"{order.workflow_id}:gone", text)
        await self._ledger.record(Record(entry=entry, changes=(_ended(order), *over)))


def _ended(order: NodeOrder) -> DeploymentChanged:
    key = {"contract_id": order.contract_id, "version": order.version, "node_id": order.node_id}
    return DeploymentChanged(**key, status=DeploymentStatus.RETIRED)


def _entry(order: NodeOrder, action: str, event: str, text: str) -> LedgerEntry:
    return LedgerEntry(
        idempotency_key=event,
        action_type="maintenance",
        action=action,
        target=order.contract_id,
        details=text,
        smart_id=order.node_id,
        metadata={"version": order.version, "node_id": order.node_id, "number": order.number},
    )
