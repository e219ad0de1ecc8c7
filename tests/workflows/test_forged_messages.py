"""Whoever reaches Temporal can send anything to any handler: without a decision token it decides nothing.

The tables name every signal and update of every workflow; the workflows are asked whether that is all of them.
"""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
import pytest_asyncio
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.worker import Worker

from activities.ledger import LedgerActivities
from activities.transfer import TransferActivities
from schemas import names
from schemas.client_po_life import acceptance_wanted
from schemas.decision import Wanted
from schemas.equipment_register import REQUESTS, EquipmentStart
from schemas.part_arrival import withdrawal_wanted
from schemas.test_results import TestVerdict
from schemas.transfer import TransferStart
from tests.workflows.forgeries import signed_by_nobody_known
from tests.workflows.shop import PO, Approval, Shop, until
from tests.workflows.traces import Trace
from tests.workflows.transfers import NEXT_NODE, package
from workers.worker import SANDBOX, WORKFLOWS
from workflows.contract_on_node import ContractOnNodeWorkflow
from workflows.equipment import EquipmentWorkflow
from workflows.maintenance import MaintenanceContractWorkflow
from workflows.maintenance_pattern import MaintenancePatternWorkflow
from workflows.node_sync import NodeSyncWorkflow
from workflows.node_watch import NodeWatchWorkflow
from workflows.reconcile import ReconcileWorkflow
from workflows.reverse_trace import ReverseTraceWorkflow
from workflows.test_execution import TestExecutionWorkflow
from workflows.transfer import TransferWorkflow

Handle = WorkflowHandle[Any, Any]


@dataclass
class Floor:
    """A PO that lacks four of ten, one whose acceptance of six waits for its approval, and one that was released."""

    shop: Shop
    short: PO
    short_line: Handle
    asked: PO
    approval: Approval
    released: PO
    broadcast: str
    now: str

    @property
    def targets(self) -> dict[str, list[tuple[Handle, PO]]]:
        """The workflows of a type, each with the PO that a message to it is about."""
        return {
            "ClientPOWorkflow": [(self.short.handle, self.short), (self.asked.handle, self.asked)],
            "PartArrivalWorkflow": [(self.short_line, self.short), (self.shop.line, self.released)],
            "ApprovalWorkflow": [(self.approval.handle, self.asked)],
        }

    async def handles_all(self) -> None:
        """Waits until everything that was sent has been handled: who is open refuses then what comes last."""
        for handle, _ in (target for targets in self.targets.values() for target in targets):
            if (await handle.describe()).status is WorkflowExecutionStatus.RUNNING:
                await handle.signal("the last")
                await until(lambda: self._refuses_the_last(handle.id), lambda: f"{handle.id} handles all; {self.shop}")  # noqa: B023

    def _refuses_the_last(self, workflow_id: str) -> bool:
        alerts = self.shop.ledger.alerts.values()
        return any(alert.source == workflow_id and "Signal the last" in alert.text for alert in alerts)

    def refusals(self, handle: Handle) -> list[str]:
        """The alerts of a workflow about what it refused, where they are recorded too."""
        ledger = self.shop.ledger
        refused = {"request_refused", "decision_refused"}
        return [
            alert.alert_type
            for alert in ledger.alerts.values()
            if alert.source == handle.id and alert.alert_type in refused and alert.alert_id in ledger.entries
        ]

    @property
    def decided(self) -> list[str]:
        """What happened and is a matter of decision, or of parts that are not there."""
        confirmed = [*self.short.entries("confirm_arrival"), *self.asked.entries("confirm_arrival")]
        withdrawn = self.shop.entries("withdraw_arrival", self.shop.part)
        decisions = {"accept_quantity", "respond_approval"}
        entries = self.shop.ledger.entries.values()
        return [e.action for e in entries if e in [*confirmed, *withdrawn] or e.action in decisions]


@pytest_asyncio.fixture
async def floor(shop: Shop) -> Floor:
    async with shop.node_online():
        released = await shop.stage("R")
        await released.joined()
        broadcast = await shop.scan()
        await released.handle.result()
        await shop.recorded("receive_arrival")
    short, asked = [await six_of_ten(shop, name) for name in ("S", "Q")]
    await asked.accept(6)
    approval = await shop.approval(f"{asked.name}.fewer-parts.1")
    await asked.recorded("ask_approval")
    return Floor(
        shop=shop,
        short=short,
        short_line=shop.client.get_workflow_handle(names.part_arrival_id(None, f"PN-S-{shop.name}")),
        asked=asked,
        approval=approval,
        released=released,
        broadcast=broadcast,
        now=(await shop.now()).isoformat(),
    )


async def six_of_ten(shop: Shop, name: str) -> PO:
    number = f"PN-{name}-{shop.name}"
    await shop.scan(part_number=number, quantity=6)
    po = await shop.stage(name, part_number=number, quantity=10)
    await po.recorded("count_arrivals")
    return po


# --- decisions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """What a person decides: who is told, what is sent beside the token, and what shows that a real one counts."""

    workflow: str
    name: str
    handle: Callable[[Floor], Handle]
    payload: Callable[[Floor], dict[str, Any]]
    wanted: Callable[[Floor], Wanted]
    word: str
    done: Callable[[Floor], Awaitable[Any]]

    def __str__(self) -> str:
        return f"{self.workflow}-{self.name}"


DECISIONS = [
    Decision(
        "ClientPOWorkflow",
        names.ACCEPT_QUANTITY,
        handle=lambda floor: floor.short.handle,
        payload=lambda floor: {"reason": "because", "user_id": "maria", "quantity": 6},
        wanted=lambda floor: acceptance_wanted(floor.short.name, 6, 10),
        word=names.ACCEPT_QUANTITY,
        done=lambda floor: floor.short.recorded("ask_approval"),
    ),
    Decision(
        "PartArrivalWorkflow",
        names.WITHDRAW,
        handle=lambda floor: floor.shop.line,
        payload=lambda floor: {"broadcast_id": floor.broadcast, "reason": "because", "user_id": "maria"},
        wanted=lambda floor: withdrawal_wanted(floor.shop.line.id, floor.broadcast),
        word=names.WITHDRAW,
        done=lambda floor: floor.shop.recorded("ask_approval", target=floor.shop.part),
    ),
    Decision(
        "ApprovalWorkflow",
        names.RESPOND,
        handle=lambda floor: floor.approval.handle,
        payload=lambda floor: {"note": "because"},
        wanted=lambda floor: floor.approval.wanted,
        word="approve",
        done=lambda floor: floor.approval.is_("approved"),
    ),
]


def without_a_token(token: str) -> dict[str, Any]:
    return {}


def signed_by_another_key(token: str) -> dict[str, Any]:
    return {"token": signed_by_nobody_known(token)}


@pytest.mark.parametrize("forge", [without_a_token, signed_by_another_key], ids=lambda forge: forge.__name__)
@pytest.mark.parametrize("decision", DECISIONS, ids=str)
class TestAForgedDecision:
    async def test_by_signal_is_refused_recorded_and_alerted_and_a_real_one_counts_after_it(
        self, floor: Floor, decision: Decision, forge: Callable[[str], dict[str, Any]]
    ) -> None:
        handle, told = decision.handle(floor), decision.payload(floor)
        token = await floor.shop.token(decision.wanted(floor), decision.word, by="bob")
        await handle.signal(decision.name, told | forge(token))
        await until(lambda: bool(floor.refusals(handle)), lambda: str(floor.shop))
        assert floor.decided == []
        await handle.signal(decision.name, told | {"token": token})
        await decision.done(floor)
        assert len(floor.refusals(handle)) == 1

    async def test_by_update_is_refused_and_a_real_one_counts_after_it(
        self, floor: Floor, decision: Decision, forge: Callable[[str], dict[str, Any]]
    ) -> None:
        handle, told = decision.handle(floor), decision.payload(floor)
        token = await floor.shop.token(decision.wanted(floor), decision.word, by="bob")
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(decision.name, told | forge(token))
        if forge is signed_by_another_key or decision.name != names.RESPOND:  # else it does not enter the history
            await until(lambda: floor.refusals(handle) == ["decision_refused"], lambda: str(floor.shop))
        assert floor.decided == []
        await handle.execute_update(decision.name, told | {"token": token})
        await decision.done(floor)


# --- everything else ------------------------------------------------------------------------------------------

BY = ("signal", "update")

Payload = Callable[[Floor, PO], dict[str, Any]]


def because(floor: Floor, po: PO) -> dict[str, Any]:
    return {"reason": "because", "user_id": "maria"}


def amendment(floor: Floor, po: PO) -> dict[str, Any]:
    return {**because(floor, po), "priority": 1}


def parts(floor: Floor, po: PO) -> dict[str, Any]:
    share = {"broadcast_id": "B-forged", "quantity": po.ordered, "location": "dock", "at_node": False}
    return {**about(floor, po), "shares": [{**share, "condition": "ok", "timestamp": floor.now}]}


def about(floor: Floor, po: PO) -> dict[str, Any]:
    return {"smart_contract_id": po.name, "ticket": 1}


def fewer(floor: Floor, po: PO) -> dict[str, Any]:
    return {**about(floor, po), "quantity": 6}


def place(floor: Floor, po: PO) -> dict[str, Any]:
    place = {"ticket": 2, "priority": 1, "staged_at": floor.now, "place": None}
    return {**fewer(floor, po), **place}


def arrival(floor: Floor, po: PO) -> dict[str, Any]:
    """What a scanner says is no decision: it is what everything else rests on, so this one says too little."""
    broadcast = {"id": "B-forged", "event_type": "part_arrival", "location": "dock", "timestamp": floor.now}
    return {"arrival": {**broadcast, "part_number": "PN"}, "at_node": False}


def ended(floor: Floor, po: PO) -> dict[str, Any]:
    return {"approval_id": floor.approval.id}


def announcement(floor: Floor, po: PO) -> dict[str, Any]:
    part = {"part_id": None, "part_number": "PN", "quantity": 10, "place": "dock"}
    transfer = {"node_id": floor.shop.node, "package_id": "PKG-forged", "ready_at": floor.now}
    return {"smart_contract_id": po.name, **part, **transfer}


def note(floor: Floor, po: PO) -> dict[str, Any]:
    return {"note": "approved", "user_id": "maria"}


MESSAGES: dict[tuple[str, str, str], Payload] = {
    ("ClientPOWorkflow", "signal", names.HOLD): because,
    ("ClientPOWorkflow", "signal", names.RESUME): because,
    ("ClientPOWorkflow", "signal", names.CANCEL): because,
    ("ClientPOWorkflow", "signal", names.RETRY): because,
    ("ClientPOWorkflow", "signal", names.AMEND): amendment,
    ("ClientPOWorkflow", "signal", names.PARTS_CONFIRMED): parts,
    ("ClientPOWorkflow", "signal", names.PARTS_REVOKED): lambda floor, po: {**about(floor, po), "reason": "because"},
    ("ClientPOWorkflow", "signal", names.PARTS_COUNTED): lambda floor, po: {**about(floor, po), "arrived": 10},
    ("ClientPOWorkflow", "signal", names.PARTS_DAMAGED): lambda floor, po: {**about(floor, po), "condition": "bent"},
    ("ClientPOWorkflow", "signal", names.APPROVAL_ENDED): ended,
    ("ClientPOWorkflow", "signal", names.PART_READY): announcement,
    ("ClientPOWorkflow", "update", names.HOLD): because,
    ("ClientPOWorkflow", "update", names.RESUME): because,
    ("ClientPOWorkflow", "update", names.CANCEL): because,
    ("ClientPOWorkflow", "update", names.RETRY): because,
    ("ClientPOWorkflow", "update", names.AMEND): amendment,
    ("PartArrivalWorkflow", "signal", names.ARRIVE): arrival,
    ("PartArrivalWorkflow", "signal", names.JOIN): place,
    ("PartArrivalWorkflow", "signal", names.LEAVE): about,
    ("PartArrivalWorkflow", "signal", names.SETTLE): about,
    ("PartArrivalWorkflow", "signal", names.REORDER): lambda floor, po: {**about(floor, po), "priority": 1},
    ("PartArrivalWorkflow", "signal", names.ACCEPT): fewer,
    ("PartArrivalWorkflow", "signal", names.APPROVAL_ENDED): ended,
    ("ApprovalWorkflow", "signal", names.NOTE): note,
    ("ApprovalWorkflow", "signal", names.CANCEL): because,
    ("ApprovalWorkflow", "update", names.NOTE): note,
    ("ApprovalWorkflow", "update", names.CANCEL): because,
}

SHOP_FLOOR_WORK = "shop-floor work, written down as by nobody known"

TESTS_AND_TRANSFERS: dict[str, dict[str, str]] = {
    "EquipmentWorkflow": dict.fromkeys(REQUESTS, f"{SHOP_FLOOR_WORK}: test_equipment.TestACalibration"),
    "TestExecutionWorkflow": {
        **dict.fromkeys(("start", "hold", "resume", "abort"), SHOP_FLOOR_WORK),
        "submit_results": "test_test_execution.TestResults",
        "sign_off": "test_test_execution.TestATokenThatDoesNotCount",
    },
    "TransferWorkflow": {
        "retry_transfer": "sends the same again, written down as by nobody known",
        "dispose": "test_transfer.TestADispositionThatDoesNotCount",
    },
    "ReverseTraceWorkflow": {"dispose": "test_reverse_trace.TestADispositionThatDoesNotCount"},
}
"""By signal and by update; what they do without a token is tested where these workflows are."""


ASKED_ELSEWHERE = {
    *(MaintenanceContractWorkflow, ContractOnNodeWorkflow),
    *(MaintenancePatternWorkflow, NodeWatchWorkflow),
}
"""Their handlers, where they have any, are told lies where they are tested: `test_maintenance` and those beside it."""


class TestAnyOtherMessage:
    @pytest.mark.parametrize("handler", MESSAGES, ids="-".join)
    async def test_does_nothing_that_is_a_matter_of_decision(self, floor: Floor, handler: tuple[str, str, str]) -> None:
        kind, by, name = handler
        for handle, po in floor.targets[kind]:
            payload = MESSAGES[handler](floor, po)
            if by == "signal":
                await handle.signal(name, payload)
            else:
                with contextlib.suppress(WorkflowUpdateFailedError):
                    await handle.execute_update(name, payload)
        await floor.shop.line.signal(names.WITHDRAW, {"broadcast_id": floor.broadcast, "reason": "because"})
        await floor.handles_all()
        assert floor.decided == []
        assert floor.approval.row["status"] in ("open", "cancelled")


class TestTheTables:
    async def test_name_every_handler_of_every_workflow(self, floor: Floor) -> None:
        found = {
            (kind.__name__, by, handler)
            for kind in WORKFLOWS
            if kind not in ASKED_ELSEWHERE
            for by, handlers in (await handlers_of(floor, kind)).items()
            for handler in handlers
        }
        decisions = {(decision.workflow, by, decision.name) for decision in DECISIONS for by in BY}
        elsewhere = {
            (kind, by, name) for kind, names_ in TESTS_AND_TRANSFERS.items() for name in names_ for by in BY
        } | {
            ("TestExecutionWorkflow", "signal", names.DISPOSED),  # looked up in the row of its transfer
            ("TestExecutionWorkflow", "signal", names.EQUIPMENT_CHANGED),  # asks the gate, and believes nobody
            ("NodeSyncWorkflow", "signal", names.REFRESH),  # what there is, is read where it is kept
            ("NodeSyncWorkflow", "signal", names.REPORTED),
        }
        assert found == MESSAGES.keys() | decisions | elsewhere


async def handlers_of(floor: Floor, kind: type) -> dict[str, list[str]]:
    """As an open workflow of that type says itself."""
    if kind is TransferWorkflow:
        return await handlers_of_transfers(floor)
    if kind is ReverseTraceWorkflow:
        return await handlers_of_traces(floor)
    if kind is ReconcileWorkflow:
        handle: Handle = await floor.shop.client.start_workflow(kind.run, id="reconcile", task_queue=names.MAIN_QUEUE)
    elif kind is EquipmentWorkflow:
        handle = await floor.shop.client.start_workflow(
            kind.run, EquipmentStart(equipment_id="E-1"), id="equipment/E-1", task_queue=names.MAIN_QUEUE
        )
    elif kind is NodeSyncWorkflow:
        await floor.shop.node_syncs.refresh("NODE-AWAY")
        handle = floor.shop.client.get_workflow_handle(names.node_sync_id("NODE-AWAY"))
    elif kind is TestExecutionWorkflow:
        handle = floor.shop.client.get_workflow_handle(names.test_execution_id(floor.released.name))
    else:
        handle = floor.targets[kind.__name__][0][0]
    return await handlers_at(handle)


async def handlers_of_transfers(floor: Floor) -> dict[str, list[str]]:
    """Of one that nobody can admit: it stands there with its handlers open."""
    admits: Any = Mock(admit=AsyncMock(side_effect=ConnectionError))
    start = TransferStart(package=package(floor.shop, TestVerdict.REJECT, NEXT_NODE))
    queue = f"transfers-{floor.shop.name}"
    async with Worker(
        floor.shop.client,
        task_queue=queue,
        workflows=[TransferWorkflow],
        activities=[TransferActivities(admits, Mock(), Mock()).admit],
        workflow_runner=SANDBOX,
    ):
        handle: Handle = await floor.shop.client.start_workflow(
            TransferWorkflow.run, start, id=names.transfer_id(start.package.package_id), task_queue=queue
        )
        found = await handlers_at(handle)
        await handle.terminate()
        return found


async def handlers_of_traces(floor: Floor) -> dict[str, list[str]]:
    """Of one that cannot be recorded: it stands there with its handlers open."""
    away: Any = Mock(record=AsyncMock(side_effect=ConnectionError))
    start, queue = Trace(floor.shop).start, f"traces-{floor.shop.name}"
    async with Worker(
        floor.shop.client,
        task_queue=queue,
        workflows=[ReverseTraceWorkflow],
        activities=[LedgerActivities(away).record],
        workflow_runner=SANDBOX,
    ):
        handle: Handle = await floor.shop.client.start_workflow(
            ReverseTraceWorkflow.run, start, id=names.reverse_trace_id(start.trace_id), task_queue=queue
        )
        found = await handlers_at(handle)
        await handle.terminate()
        return found


async def handlers_at(handle: Handle) -> dict[str, list[str]]:
    definition = (await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)).definition
    return {
        "signal": [signal.name for signal in definition.signal_definitions if signal.name],  # the dynamic one has none
        "update": [update.name for update in definition.update_definitions],
    }
