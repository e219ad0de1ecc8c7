"""The test of a released PO. For now it only waits; what a test is comes with the node's own work."""

from temporalio import workflow

from schemas import names
from schemas.alert import Alert, Severity, cause_of
from schemas.base import Model
from schemas.ledger import LedgerEntry
from schemas.record import AlertRaised
from workflows.inbox import Inbox, Item, Refused
from workflows.steps import record


class TestExecutionStart(Model):
    """Input: the contract, its node and the receipt that the node gave for it."""

    __test__ = False

    smart_contract_id: str
    node_id: str
    receipt_hash: str


@workflow.defn
class TestExecutionWorkflow:
    """Waits at its node; Temporal's Cancel ends it."""

    __test__ = False

    @workflow.init
    def __init__(self, start: TestExecutionStart) -> None:
        self._inbox = Inbox(signals={}, updates={})
        workflow.set_current_details(
            f"**At node {start.node_id}**, waiting for its test.\n\nReceipt of the node: `{start.receipt_hash}`"
        )

    @workflow.run
    async def run(self, start: TestExecutionStart) -> None:
        while True:
            await workflow.wait_condition(lambda: bool(self._inbox))
            item = self._inbox.next()
            if isinstance(item.payload, Refused):
                await self._record_refusal(start.smart_contract_id, item, item.payload.reason)

    async def _record_refusal(self, name: str, item: Item, reason: str) -> None:
        key = f"{names.test_execution_id(name)}:refuse_request:{item.key}"
        text = f"Signal {item.name} was refused: {reason}"
        alert = Alert(
            alert_id=key,
            alert_type="request_refused",
            severity=Severity.HIGH,
            source=names.test_execution_id(name),
            subject=name,
            text=f"{text}. Send it again, corrected.",
            cause=cause_of("request_refused", name, "test", item.name),
        )
        entry = LedgerEntry(
            idempotency_key=key,
            action_type="test",
            action="refuse_request",
            target=name,
            details=text,
            metadata={"signal": item.name, "reason": reason},
        )
        await record(entry, AlertRaised(alert=alert))
