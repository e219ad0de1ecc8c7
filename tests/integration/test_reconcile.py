"""The reconcile with a real database and a real Temporal."""

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import ActivityEnvironment

from activities.reconcile import ReconcileActivities
from infra.alerts import AlertOutbox, Alerts
from infra.approval_reconcile import ApprovalReconciler
from infra.approvals import Approvals
from infra.client_po import ClientPOs
from infra.ledger import Ledger
from infra.reconcile import ClientPOReconciler
from infra.repairs import NotRepaired, Reconciler, Repairs
from infra.settings import Settings
from infra.temporal import ClientPOStarter
from infra.test_execution import Tests
from infra.test_reconcile import TestReconciler
from infra.transfer import Transfers
from infra.transfer_reconcile import TransferReconciler
from schemas import names
from schemas.canonical import document_hash
from schemas.changes.client_po import ClientPOStaged
from schemas.changes.test_execution import TestOpened
from schemas.changes.transfer import TransferOpened
from schemas.ledger import LedgerEntry
from schemas.reconcile import Reconciled
from schemas.record import Change, Record
from tests.opened import opened_approval


def staged(name: str, document: dict[str, Any]) -> Record:
    """The row of a PO whose workflow was never started."""
    row = ClientPOStaged(
        smart_contract_id=name,
        document=json.dumps(document),
        document_hash=document_hash(document),
        staging_id=f"ST-{name}",
        workflow_id=names.client_po_id(name),
        clientpo_id="CPO-1",
        client="Aeroturbine Overhaul GmbH",
        part_id=f"PART-{name}",
        part_number=None,
        quantity=1,
        priority=3,
        due_date=None,
        expected_arrival=None,
        arrival_location=None,
        sequence_number=1,
        target_node="NOD-TestStation-LP-01",
        status="awaiting_arrival",
    )
    entry = LedgerEntry(
        idempotency_key=f"{name}:stage", action_type="handoff", action="stage_client_po", target=name, details="staged"
    )
    return Record(entry=entry, changes=(row,))


def contract(name: str) -> dict[str, Any]:
    return {
        "smart_contract_id": name,
        "contract_type": "nondestructive_testing",
        "clientpo_id": "CPO-1",
        "client": "Aeroturbine Overhaul GmbH",
        "part_id": f"PART-{name}",
        "tests": [
            {
                "test_id": f"{name}-TEST1",
                "test_type": "liquid_penetrant",
                "assigned_node": "NOD-TestStation-LP-01",
                "procedure": {"procedure_id": "ASTM-E1417", "revision": "2021"},
                "required_signoffs": ["inspector"],
                "equipment": ["UV-LAMP-04"],
            }
        ],
        "routing_trigger": {"type": "workflow_complete"},
    }


async def reconcile(engine: AsyncEngine, ledger: Ledger, *reconcilers: Reconciler) -> Reconciled:
    """One run, as the worker makes it."""
    activities = ReconcileActivities(partial(Repairs, Alerts(engine), ledger), *reconcilers)
    return await ActivityEnvironment().run(activities.reconcile)


async def alerted(engine: AsyncEngine) -> set[str]:
    return {message.alert["subject"] for message in await AlertOutbox(engine).unpublished()}


async def test_rows_that_cannot_be_repaired_are_named_after_all_others_are(
    settings: Settings, client: Client, engine: AsyncEngine, ledger: Ledger
) -> None:
    run = uuid4().hex
    bad, good, worse, better = (f"SC-{place}-{run}" for place in range(4))
    for name in (bad, good, worse, better):
        readable = name in (good, better)
        await ledger.record(staged(name, contract(name) if readable else {"smart_contract_id": name}))
    reconciler = ClientPOReconciler(client, ClientPOs(engine), ledger, ClientPOStarter(client, settings))

    with pytest.raises(NotRepaired) as failure:
        await reconcile(engine, ledger, reconciler)

    assert await alerted(engine) == {bad, worse}
    assert str(failure.value).startswith(f"not repaired: {bad}, {worse}; {bad} because of ValidationError")
    for name in (good, better):
        handle = client.get_workflow_handle(names.client_po_id(name))
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        await handle.terminate()


def unreadable_transfer(name: str) -> TransferOpened:
    """Its package is none."""
    return TransferOpened(
        package_id=name,
        smart_contract_id="SC-1",
        clientpo_id="CPO-1",
        node_id="NODE-1",
        revision=1,
        verdict="accept",
        package="{}",
        content_hash="-",
        signed_at=datetime.now(UTC),
        authorized_at=datetime.now(UTC),
    )


async def note(ledger: Ledger, key: str, *changes: Change) -> None:
    entry = LedgerEntry(idempotency_key=key, action_type="test", action="note", target=key, details="-")
    await ledger.record(Record(entry=entry, changes=changes))


async def test_a_row_of_another_kind_that_cannot_be_repaired_does_not_keep_a_po_from_its_repair(
    settings: Settings, client: Client, engine: AsyncEngine, ledger: Ledger
) -> None:
    run = uuid4().hex
    approval, tested, package, po = f"AP-{run}", f"SC-0-{run}", f"PKG-{run}", f"SC-1-{run}"
    test = names.test_execution_id(tested)
    await note(ledger, "unknown", opened_approval(approval, request_type="forgotten"))
    await note(ledger, "opened", TestOpened(smart_contract_id=tested, clientpo_id="C", node_id="N", status="running"))
    await note(ledger, f"{test}:workflow_closed")  # in other words than those of its abort
    await note(ledger, "unreadable", unreadable_transfer(package))
    await ledger.record(staged(po, contract(po)))

    with pytest.raises(NotRepaired) as failure:
        await reconcile(
            engine,
            ledger,
            ApprovalReconciler(client, Approvals(engine), ledger),
            TestReconciler(client, Tests(engine), ledger),
            TransferReconciler(client, Transfers(engine), ledger),
            ClientPOReconciler(client, ClientPOs(engine), ledger, ClientPOStarter(client, settings)),
        )

    assert failure.value.errors.keys() == await alerted(engine) == {approval, test, package}
    handle = client.get_workflow_handle(names.client_po_id(po))
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await handle.terminate()


class Starter:
    """Starts nothing, and fails while it is told to."""

    fails = True

    async def start(self, *_: Any) -> bool:
        if self.fails:
            raise RuntimeError("something is wrong")
        return True


async def test_a_row_that_was_repaired_resolves_its_alert_and_raises_another_the_next_time(
    client: Client, engine: AsyncEngine, ledger: Ledger
) -> None:
    alerts, starter = Alerts(engine), Starter()
    name = f"SC-{uuid4().hex}"
    await ledger.record(staged(name, contract(name)))
    reconciler = ClientPOReconciler(client, ClientPOs(engine), ledger, starter)  # type: ignore[arg-type]

    async def states(*, fails: bool) -> list[str]:
        """The states of all its alerts afterwards, the newest first."""
        starter.fails = fails
        with pytest.raises(NotRepaired) if fails else nullcontext():
            assert (await reconcile(engine, ledger, reconciler)).started == (name,)
        return [alert["state"] for alert in (await alerts.page(subject=name, limit=9, offset=0))[1]]

    found = [await states(fails=fails) for fails in (True, True, False, True, False)]
    assert found == [["raised"], ["raised"], ["resolved"], ["raised", "resolved"], ["resolved", "resolved"]]


async def test_a_test_whose_workflow_was_closed_is_aborted_and_alerted_once(
    client: Client, engine: AsyncEngine, ledger: Ledger
) -> None:
    name = f"SC-{uuid4().hex}"
    opened = LedgerEntry(
        idempotency_key=f"{name}:open", action_type="test", action="open_test", target=name, details="opened"
    )
    row = TestOpened(smart_contract_id=name, clientpo_id="CPO-1", node_id="NODE-1", status="running")
    await ledger.record(Record(entry=opened, changes=(row,)))
    handle = await client.start_workflow("TestExecutionWorkflow", id=names.test_execution_id(name), task_queue="nobody")
    tests = Tests(engine)
    reconciler = TestReconciler(client, tests, ledger)
    while_open = await reconcile(engine, ledger, reconciler)
    await handle.terminate()
    closed = await reconcile(engine, ledger, reconciler)
    again = await reconcile(engine, ledger, reconciler)
    record = await tests.get(name)
    [entry] = await ledger.entries(action="abort_test")
    assert (while_open.closed, closed.closed, again.closed) == ((), (handle.id,), ())
    assert record is not None
    assert record.row["status"] == "aborted"
    assert entry.metadata == {"workflow": "terminated", "was": "running"}
    assert await alerted(engine) == {name}
