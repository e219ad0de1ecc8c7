"""The floor: the barest workflows with the hops of the main job and nothing else.

The same local activities and activities in the same order, with the same payloads and the real ledger and node behind
them; but no rules, no state, no handlers that queue, no validation, no search attributes, no line.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow

from activities.ledger import LedgerActivities
from activities.maintenance_node import MaintenanceNodeActivities
from activities.node import NodeActivities
from activities.part_arrival import PartArrivalActivities
from activities.transfer import TransferActivities
from schemas import names
from schemas.approval import ApprovalEnded
from schemas.changes.client_po import ClientPOChanged
from schemas.ledger import LedgerEntry
from schemas.maintenance import ContractDelivery
from schemas.node import NodeDelivery
from schemas.part_arrival import WaitingPO
from schemas.part_line import JoinLine, PartArrivalStart
from schemas.record import Record
from schemas.transfer import Sending

LOCAL = timedelta(seconds=3)
NODE = "NOD-TestStation-LP-01"


def _entry(name: str, action: str) -> LedgerEntry:
    return LedgerEntry(
        idempotency_key=f"{name}:{action}",
        action_type="handoff",
        action=action,
        target=name,
        details=f"{action} of {name}",
        metadata={"staging_id": f"STAGE-{name}", "part_id": name, "broadcast_ids": [name]},
    )


async def _record(name: str, action: str, status: str | None = None) -> None:
    changes = (ClientPOChanged(smart_contract_id=name, status=status),) if status else ()
    await workflow.execute_local_activity_method(
        LedgerActivities.record,
        Record(entry=_entry(name, action), changes=changes),
        schedule_to_close_timeout=LOCAL,
    )


@workflow.defn
class FloorPartWorkflow:
    """Waits for one arrival and one PO, tells the PO, records the arrival, and hears that the PO is gone."""

    def __init__(self) -> None:
        self.arrived = self.settled = False
        self.po: str | None = None

    @workflow.run
    async def run(self, start: PartArrivalStart) -> None:
        await workflow.wait_condition(lambda: self.arrived and self.po is not None)
        await workflow.get_external_workflow_handle(f"floor-po/{self.po}").signal("confirm")
        await _record(f"{start.part_id}", "receive_arrival")
        await workflow.wait_condition(lambda: self.settled)

    @workflow.signal
    def arrive(self) -> None:
        self.arrived = True

    @workflow.signal
    def join(self, po: WaitingPO) -> None:
        self.po = po.smart_contract_id

    @workflow.signal
    def settle(self) -> None:
        self.settled = True


@workflow.defn
class FloorTestWorkflow:
    """Ends at once, abandoned by its parent."""

    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(0)


@workflow.defn
class FloorWaitingWorkflow:
    """Waits to be woken."""

    def __init__(self) -> None:
        self.woken = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.woken)

    @workflow.signal
    def approval_ended(self, _: ApprovalEnded) -> None:
        self.woken = True


@workflow.defn
class FloorPOWorkflow:
    """Join, wait, record, dispatch, record, start the next, tell the part."""

    def __init__(self) -> None:
        self.confirmed = False

    @workflow.run
    async def run(self, part: str, delivery: NodeDelivery, waiting: WaitingPO) -> None:
        name = delivery.smart_contract_id
        line = PartArrivalStart(part_id=part, part_number=None, unclaimed_after=1)
        await workflow.execute_local_activity_method(
            PartArrivalActivities.join_line, JoinLine(part=line, po=waiting), schedule_to_close_timeout=LOCAL
        )
        await workflow.wait_condition(lambda: self.confirmed)
        await _record(name, "confirm_arrival", "ready_for_release")
        await workflow.execute_activity_method(
            NodeActivities.take_client_po,
            delivery,
            task_queue=names.node_queue(NODE),
            start_to_close_timeout=timedelta(seconds=10),
        )
        await _record(name, "release_client_po", "released")
        await workflow.start_child_workflow(
            FloorTestWorkflow.run, id=f"floor-test/{name}", parent_close_policy=workflow.ParentClosePolicy.ABANDON
        )
        await workflow.get_external_workflow_handle(f"floor-part/{part}").signal("settle")

    @workflow.signal
    def confirm(self) -> None:
        self.confirmed = True


@workflow.defn
class FloorTransferWorkflow:
    """Two bare HTTP activities at once, with the bodies ready; ends when both have their receipts."""

    @workflow.run
    async def run(self, sendings: list[Sending]) -> None:
        legs = [
            workflow.start_activity_method(
                TransferActivities.send, sending, start_to_close_timeout=timedelta(seconds=30)
            )
            for sending in sendings
        ]
        for leg in legs:
            delivery = await leg
            if delivery.receipt is None:
                raise RuntimeError(delivery.error)


@workflow.defn
class FloorDeploymentWorkflow:
    """All nodes at once, and nothing else."""

    @workflow.run
    async def run(self, delivery: ContractDelivery, node_ids: list[str]) -> None:
        taking = [
            workflow.start_activity_method(
                MaintenanceNodeActivities.take_contract,
                delivery,
                task_queue=names.node_queue(node_id),
                start_to_close_timeout=timedelta(seconds=30),
            )
            for node_id in node_ids
        ]
        for taken in taking:
            await taken
