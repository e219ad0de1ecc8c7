"""Approvals that nobody has heard of, with a real database and a real Temporal."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from infra.alerts import Alerts
from infra.approval_reconcile import ApprovalReconciler
from infra.approvals import Approvals, ask_approval
from infra.client_po import ClientPOs
from infra.decisions import DecisionSigner
from infra.hubs import Hubs
from infra.ledger import Ledger
from infra.repairs import Repairs
from infra.settings import Settings
from schemas import names
from schemas.approval import ApprovalRequest
from schemas.canonical import document_hash
from schemas.changes.client_po import ClientPOChanged, ClientPOStaged
from schemas.client_po import ClientPOStatus, SmartClientPO
from schemas.client_po_life import ClientPOLife, ClientPOStart, PendingAcceptance, acceptance_request
from schemas.identity import Identity
from schemas.ledger import LedgerEntry, Receipt
from schemas.part_arrival import PendingWithdrawal, WithdrawArrival, withdrawal_request
from schemas.part_line import PartArrivalStart, PartLine
from schemas.permission import Role
from schemas.reconcile import Repaired
from schemas.record import Record
from tests.integration.test_reconcile import contract
from workers.worker import main_worker


class Killed(BaseException):
    """What happens to a process between two steps: nothing in it goes on."""


class LastRecord(Ledger):
    """Of a process that is killed when it has recorded something."""

    async def record(self, record: Record) -> Receipt:
        await super().record(record)
        raise Killed


class Floor:
    """Workers over a database of the test's own."""

    def __init__(self, client: Client, engine: AsyncEngine, ledger: Ledger) -> None:
        self.client = client
        self.engine = engine
        self.ledger = ledger
        self.approvals = Approvals(engine)

    async def reconcile(self, ledger: Ledger | None = None) -> dict[str, Repaired | None]:
        """Each approval that was looked at, and what was done for it."""
        reconciler = ApprovalReconciler(self.client, self.approvals, ledger or self.ledger)
        repairs = Repairs(Alerts(self.engine), self.ledger)
        found = {approval_id: repaired async for approval_id, repaired in reconciler.repair(repairs)}
        await repairs.finish()
        return found

    async def reconcile_and_die(self) -> None:
        """Right after the end of an approval is recorded."""
        async with LastRecord(self.engine, recorder="dying", smart_id="FLOOR-HUB-01") as ledger:
            with pytest.raises(Killed):
                await self.reconcile(ledger)

    async def start(self, workflow: str, start: Any, workflow_id: str) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(workflow, start, id=workflow_id, task_queue=names.MAIN_QUEUE)

    async def actions(self, target: str) -> list[str]:
        return [entry.action for entry in await self.ledger.timeline(target)]

    async def until_recorded(self, target: str, action: str) -> None:
        async with asyncio.timeout(20):
            while action not in await self.actions(target):
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def floor(settings: Settings, client: Client, engine: AsyncEngine, ledger: Ledger) -> AsyncIterator[Floor]:
    async with Hubs(settings) as hubs, main_worker(client, engine, ledger, hubs, settings):
        yield Floor(client, engine, ledger)


@dataclass
class Asker:
    """A workflow that asked, and the entry in which it says what came of it."""

    handle: WorkflowHandle[Any, Any]
    request: ApprovalRequest
    target: str
    kept: str


async def a_po(floor: Floor) -> Asker:
    """It waits for the approval of fewer parts, and its row says so."""
    number = f"PN-{uuid4().hex}"
    document = {**contract(f"SC-{uuid4().hex}"), "part_id": None, "part_number": number, "quantity": 10}
    po = SmartClientPO.model_validate(document)
    name, hash_ = po.smart_contract_id, document_hash(document)
    asked = acceptance_request(po, 1, quantity=6, reason="urgent", requested_by="ada")
    pending = PendingAcceptance(approval_id=asked.approval_id, content_hash=asked.content_hash, quantity=6)
    terms = {field: getattr(po, field) for field in ClientPOStaged.model_fields if field in SmartClientPO.model_fields}
    row = ClientPOStaged(
        **terms,
        document=json.dumps(document),
        document_hash=hash_,
        staging_id=names.staging_id(name),
        workflow_id=names.client_po_id(name),
        target_node=po.target_node,
        status=ClientPOStatus.AWAITING_ARRIVAL,
    )
    waits = ClientPOChanged(smart_contract_id=name, pending_approval=asked.approval_id)
    staged = LedgerEntry(idempotency_key=f"{name}:stage", action_type="t", action="stage", target=name, details="-")
    await floor.ledger.record(Record(entry=staged, changes=(row, waits)))
    start = ClientPOStart(
        document=document,
        document_hash=hash_,
        staged_at=datetime.now(UTC),
        release_alert_after=300,
        unclaimed_after=300,
        life=ClientPOLife.of(po).model_copy(update={"acceptance": pending, "acceptances": 1}),
    )
    handle = await floor.start("ClientPOWorkflow", start, names.client_po_id(name))
    return Asker(handle, asked, target=name, kept="keep_quantity")


async def a_line(floor: Floor) -> Asker:
    """It waits for the approval of a withdrawal after the release."""
    part = f"PART-{uuid4().hex}"
    line_id = names.part_arrival_id(part, None)
    withdrawal = WithdrawArrival(broadcast_id="B1", reason="wrong label", user_id="ada")
    asked = withdrawal_request(line_id, withdrawal, ("SC-1",), number=part, requested_by="ada")
    pending = PendingWithdrawal(withdrawal=withdrawal, released=("SC-1",), content_hash=asked.content_hash)
    start = PartArrivalStart(
        part_id=part,
        part_number=None,
        unclaimed_after=300,
        line=PartLine(single=True),
        withdrawals={asked.approval_id: pending},
    )
    handle = await floor.start("PartArrivalWorkflow", start, line_id)
    return Asker(handle, asked, target=part, kept="keep_arrival")


Ask = Callable[[Floor], Awaitable[Asker]]


@pytest_asyncio.fixture(params=[a_po, a_line], ids=lambda ask: ask.__name__)
async def asker(floor: Floor, request: pytest.FixtureRequest) -> AsyncIterator[Asker]:
    """Its approval is open, and the approval's workflow was terminated."""
    ask: Ask = request.param
    asker = await ask(floor)
    approval_id = asker.request.approval_id
    await ask_approval(floor.client, asker.request)
    await floor.until_recorded(approval_id, "request_approval")
    await floor.client.get_workflow_handle(names.approval_workflow_id(approval_id)).terminate()
    yield asker
    await asker.handle.terminate()


class TestAnApprovalWhoseWorkflowIsClosed:
    async def test_wakes_whoever_asked_though_the_reconcile_was_killed_before_it_could(
        self, floor: Floor, asker: Asker
    ) -> None:
        await floor.reconcile_and_die()
        await floor.reconcile()
        await floor.until_recorded(asker.target, asker.kept)

    async def test_is_not_looked_at_again_once_whoever_asked_has_heard(self, floor: Floor, asker: Asker) -> None:
        assert await floor.reconcile() == {asker.request.approval_id: Repaired.CLOSED}
        await floor.until_recorded(asker.target, asker.kept)
        assert await floor.reconcile() == {}

    async def test_changes_nothing_when_it_wakes_twice(self, floor: Floor, asker: Asker) -> None:
        await floor.reconcile()
        await floor.until_recorded(asker.target, asker.kept)
        before = await floor.actions(asker.target)
        await asker.handle.signal(names.APPROVAL_ENDED, {"approval_id": asker.request.approval_id})
        await asker.handle.signal(names.APPROVAL_ENDED, {"approval_id": "never-asked"})
        await floor.until_recorded(asker.target, "refuse_request")
        assert await floor.actions(asker.target) == [*before, "refuse_request"]


async def test_an_approval_of_a_po_that_asks_for_another_by_now_changes_nothing(floor: Floor) -> None:
    asker = await a_po(floor)
    first = asker.request.model_copy(update={"approval_id": f"{asker.target}.fewer-parts.0"})
    await ask_approval(floor.client, first)
    await floor.client.get_workflow_handle(names.approval_workflow_id(first.approval_id)).signal(
        names.CANCEL, {"reason": "another is asked"}
    )
    await floor.until_recorded(first.approval_id, "cancel_approval")
    await asker.handle.signal(names.APPROVAL_ENDED, {"approval_id": "never-asked"})
    await floor.until_recorded(asker.target, "refuse_request")
    po = await ClientPOs(floor.engine).get(asker.target)
    assert po is not None
    assert po["pending_approval"] == asker.request.approval_id
    assert (await floor.actions(asker.target)).count("refuse_request") == 1
    await asker.handle.terminate()


async def test_an_approval_that_no_line_was_there_to_hear_is_not_looked_at_again(
    floor: Floor, settings: Settings
) -> None:
    line = await a_line(floor)
    await line.handle.terminate()
    await ask_approval(floor.client, line.request)
    approval_id, wanted = line.request.approval_id, line.request.wanted
    await floor.until_recorded(approval_id, "request_approval")
    token = DecisionSigner(settings).sign(
        Identity(user_id="bob", role=Role.PRODUCTION_MANAGER, auth_time=datetime.now(UTC)),
        workflow_id=wanted.workflow_id,
        content_hash=wanted.content_hash,
        decision="refuse",
        meaning="refused",
    )
    approval = floor.client.get_workflow_handle(wanted.workflow_id)
    await approval.execute_update(names.RESPOND, {"token": token})
    await floor.until_recorded(approval_id, "approval_unheard")
    assert await floor.reconcile() == {}
