"""The daily watch of a node, started by its Temporal Schedule only.

The node looks at its own disk, and tells the hub what it found as it tells all that it does. A node that is away is
waited for; until it has answered, no other watch of it begins.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

from activities.maintenance_node import MaintenanceNodeActivities
from schemas import names
from schemas.changes.alert import AlertResolved
from schemas.expiry import ExpiryReport
from schemas.node_watch import WatchStart
from workflows import retry
from workflows.book import Book


@workflow.defn
class NodeWatchWorkflow:
    """Workflow ID `watch/{node_id}` with the time of its Schedule; its result is what the node found."""

    @workflow.init
    def __init__(self, start: WatchStart) -> None:
        self._node = start.node_id
        self._book = Book(
            key=names.node_watch_id(start.node_id),
            source=workflow.info().workflow_id,
            action_type="maintenance",
            target=start.node_id,
        )

    @workflow.run
    async def run(self, start: WatchStart) -> ExpiryReport:
        workflow.set_current_details(f"{self._node} looks at its calibrations; start it where it does not answer")
        answer = asyncio.create_task(self._ask())
        await workflow.wait([answer], timeout=start.late_after)
        report = await answer if answer.done() else await self._late(answer)
        workflow.set_current_details(report.summary)
        return report

    async def _ask(self) -> ExpiryReport:
        return await workflow.execute_activity_method(
            MaintenanceNodeActivities.check_expiry,
            task_queue=names.node_queue(self._node),
            start_to_close_timeout=retry.ACTIVITY_TIME,
            retry_policy=retry.PATIENTLY,
            summary=f"{self._node} looks at its calibrations",
        )

    async def _late(self, answer: "asyncio.Task[ExpiryReport]") -> ExpiryReport:
        """People are told, and it is still waited for."""
        watch = workflow.info().workflow_id
        text = (
            f"{self._node} has not looked at its calibrations since {workflow.info().start_time.isoformat()}: start it"
            f" with smartfloor worker --node {self._node}. Its watch goes on by itself then."
        )
        late = self._book.alert(f"late:{watch}", "node_late", text)
        await self._book.enter("watch_late", f"late:{watch}", text, {"watch": watch}, late)
        over = AlertResolved(cause=late.alert.cause)
        try:
            report = await answer
        except (asyncio.CancelledError, FailureError) as error:
            if not is_cancelled_exception(error):
                raise
            ended = f"The watch of {self._node} was cancelled: nobody waits for the node any more"
            await self._book.enter("watch_ended", f"ended:{watch}", ended, {"watch": watch}, over)
            raise
        details = f"{self._node} is back and has looked at its calibrations"
        await self._book.enter("watch_answered", f"answered:{watch}", details, {"watch": watch}, over)
        return report
