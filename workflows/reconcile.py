"""The reconcile, started by its Temporal Schedule only."""

from datetime import timedelta

from temporalio import workflow

from activities.reconcile import ReconcileActivities
from schemas.reconcile import Reconciled
from workflows import retry


@workflow.defn
class ReconcileWorkflow:
    """Rows that are not terminal must have an open workflow."""

    @workflow.run
    async def run(self) -> Reconciled:
        return await workflow.execute_activity_method(
            ReconcileActivities.reconcile,
            start_to_close_timeout=timedelta(hours=1),
            heartbeat_timeout=timedelta(minutes=1),
            retry_policy=retry.PATIENTLY,
            summary="compare rows with workflows",
        )
