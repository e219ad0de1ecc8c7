"""Tests whose workflow was closed from outside: what was measured and signed stays, but nobody goes on with it."""

from collections.abc import AsyncIterator

from temporalio.client import Client, WorkflowExecutionStatus

from infra.database import Row
from infra.ledger import Ledger
from infra.repairs import Repairs, closed_from_outside, how_closed
from infra.temporal import workflow_status
from infra.test_execution import Tests
from schemas import names
from schemas.alert import KINDS
from schemas.changes.alert import AlertResolved
from schemas.changes.test_execution import TestChanged
from schemas.ledger import LedgerEntry
from schemas.reconcile import Repaired
from schemas.test_execution import TestStatus, alert_cause


class TestReconciler:
    """Aborts them, and tells a person; what it does is idempotent."""

    __test__ = False

    def __init__(self, client: Client, tests: Tests, ledger: Ledger) -> None:
        self._client = client
        self._tests = tests
        self._ledger = ledger

    async def repair(self, repairs: Repairs) -> AsyncIterator[tuple[str, Repaired | None]]:
        """Each test that has not ended, by the ID of its workflow, and what was done for it."""
        after = ""
        while rows := await self._tests.not_terminal(after=after):
            for row in rows:
                after = row["smart_contract_id"]
                test = names.test_execution_id(after)  # its contract is the name of a PO
                yield test, await repairs.attempt(test, self._repair(row))

    async def _repair(self, row: Row) -> Repaired | None:
        name = row["smart_contract_id"]
        status = await workflow_status(self._client, names.test_execution_id(name))
        if status is WorkflowExecutionStatus.RUNNING:
            return None
        current = await self._tests.get(name)
        if current is None or current.row["status"] != row["status"]:
            return None  # it ended well while we looked
        await self._abort(row, how_closed(status))
        return Repaired.CLOSED

    async def _abort(self, row: Row, how: str) -> None:
        name = row["smart_contract_id"]
        entry = LedgerEntry(
            idempotency_key=f"{names.test_execution_id(name)}:workflow_closed",
            action_type="test",
            action="abort_test",
            target=name,
            details=f"The workflow of the test of {name} was {how} from outside: stage the contract under a new ID.",
            smart_id=row["node_id"],
            metadata={"workflow": how, "was": row["status"]},
        )
        over = (AlertResolved(cause=alert_cause(kind, name)) for kind in KINDS if KINDS[kind].lasting)
        change = TestChanged(smart_contract_id=name, status=TestStatus.ABORTED)
        await self._ledger.record(closed_from_outside(entry, change, *over))
