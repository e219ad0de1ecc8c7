"""The reconcile with a real database and a real Temporal."""

import json
from contextlib import nullcontext
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus

from infra.alerts import AlertOutbox, Alerts
from infra.client_po import ClientPOs
from infra.ledger import Ledger
from infra.reconcile import NotRepaired, Reconciler
from infra.settings import Settings
from infra.temporal import ClientPOStarter
from infra.test_execution import Tests
from infra.test_reconcile import TestReconciler
from schemas import names
from schemas.canonical import document_hash
from schemas.ledger import LedgerEntry
from schemas.record import ClientPOStaged, Record, TestOpened


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


async def test_rows_that_cannot_be_repaired_are_named_after_all_others_are(
    settings: Settings, client: Client, engine: AsyncEngine, ledger: Ledger
) -> None:
    run = uuid4().hex
    bad, good, worse, better = (f"SC-{place}-{run}" for place in range(4))
    for name in (bad, good, worse, better):
        readable = name in (good, better)
        await ledger.record(staged(name, contract(name) if readable else {"smart_contract_id": name}))
    reconciler = Reconciler(client, ClientPOs(engine), Alerts(engine), ledger, ClientPOStarter(client, settings))

    done: dict[str, bool | None] = {}

    async def repair() -> None:
        async for name, repaired in reconciler.repair():
            done[name] = repaired  # noqa: PERF403 - a comprehension would lose them all at the error

    with pytest.raises(NotRepaired) as failure:
        await repair()
    alerted = {message.alert["subject"] for message in await AlertOutbox(engine).unpublished()}

    assert alerted == {bad, worse}
    assert done == {bad: None, good: True, worse: None, better: True}
    assert str(failure.value).startswith(f"not repaired: {bad}, {worse}; {bad} because of ValidationError")
    for name in (good, better):
        handle = client.get_workflow_handle(names.client_po_id(name))
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
    reconciler = Reconciler(client, ClientPOs(engine), alerts, ledger, starter)  # type: ignore[arg-type]

    async def reconcile(*, fails: bool) -> list[str]:
        """The states of all its alerts afterwards, the newest first."""
        starter.fails = fails
        with pytest.raises(NotRepaired) if fails else nullcontext():
            assert [repaired async for _, repaired in reconciler.repair()] == [True]
        return [alert["state"] for alert in (await alerts.page(subject=name, limit=9, offset=0))[1]]

    found = [await reconcile(fails=fails) for fails in (True, True, False, True, False)]
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
    while_open = [one async for one in reconciler.repair()]
    await handle.terminate()
    closed = [one async for one in reconciler.repair()]
    again = [one async for one in reconciler.repair()]
    record = await tests.get(name)
    [entry] = await ledger.entries(action="abort_test")
    alerted = {message.alert["subject"] for message in await AlertOutbox(engine).unpublished()}
    assert (while_open, closed, again) == ([(name, False)], [(name, True)], [])
    assert record is not None
    assert record.row["status"] == "aborted"
    assert entry.metadata == {"workflow": "terminated", "was": "running"}
    assert alerted == {name}
