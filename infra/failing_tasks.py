"""Workflows whose tasks fail again and again: nothing is lost, but they stand still until somebody mends the worker.

The server marks such a workflow after a few failures (search attribute `TemporalReportedProblems`, five by default)
and takes the mark away when a task succeeds. Looking does not go through a workflow: its own tasks could be those
that fail.
"""

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from infra.alerts import Alerts, StandingAlerts
from infra.ledger import Ledger
from infra.settings import Settings
from infra.temporal import workflow_url
from schemas.alert import Severity

ALERT_TYPE = "workflow_task_failing"
PROBLEMS = SearchAttributeKey.for_keyword_list("TemporalReportedProblems")
_FAILING = f'{PROBLEMS.name} IS NOT NULL AND ExecutionStatus = "Running"'


class FailingTasks:
    """Raises and resolves `workflow_task_failing`; what it does is idempotent."""

    def __init__(self, client: Client, alerts: Alerts, ledger: Ledger, settings: Settings) -> None:
        self._client = client
        self._alerts = alerts
        self._standing = StandingAlerts(alerts, ledger)
        self._settings = settings

    async def look(self) -> None:
        """Compares the workflows that are marked with the alerts that are open."""
        failing = {execution.id: execution async for execution in self._client.list_workflows(_FAILING)}
        known = {alert["subject"]: alert for alert in await self._alerts.open_of_type(ALERT_TYPE)}
        for name, execution in failing.items():
            # The list is a little late: what was resolved a moment ago is not raised again from it.
            if name not in known and await self._goes_again(name) is None:
                await self._raise(execution)
        for name, alert in known.items():
            if name not in failing and (why := await self._goes_again(name)):
                await self._standing.resolve(alert["cause"], why)

    async def _raise(self, execution: WorkflowExecution) -> None:
        problems = ", ".join(execution.typed_search_attributes.get(PROBLEMS, ()))
        text = (
            f"{execution.workflow_type} {execution.id} stands still: its workflow task keeps failing ({problems}). "
            f"See its last events ({workflow_url(self._settings, execution.id)}) and the worker's log, and start a "
            "worker that is mended: it goes on by itself, from where it is."
        )
        await self._standing.raise_once(
            ALERT_TYPE,
            execution.id,
            text,
            severity=Severity.CRITICAL,
            source="gateway",
            metadata={"run_id": execution.run_id, "workflow_type": execution.workflow_type},
        )

    async def _goes_again(self, workflow_id: str) -> str | None:
        """Asks the workflow itself, because the list is a little late."""
        try:
            description = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return "its workflow is gone"
        if description.status is not WorkflowExecutionStatus.RUNNING:
            return "its workflow has ended"
        return None if description.typed_search_attributes.get(PROBLEMS) else "its workflow goes on"
