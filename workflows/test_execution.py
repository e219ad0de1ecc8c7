"""The test of a released PO. For now it only waits; what a test is comes with the node's own work."""

from temporalio import workflow

from schemas import names
from schemas.base import Model
from workflows.book import Book
from workflows.inbox import Inbox, Refused


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
        test_id = names.test_execution_id(start.smart_contract_id)
        self._book = Book(key=test_id, source=test_id, action_type="test", target=start.smart_contract_id)
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
                await self._book.refuse_request(item, item.payload.reason)
