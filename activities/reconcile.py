"""Finding POs and approvals whose row and workflow no longer agree."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.reconcile import Reconciled

if TYPE_CHECKING:
    from infra.approval_reconcile import ApprovalReconciler
    from infra.reconcile import Reconciler


class ReconcileActivities:
    """The daily comparison of rows with workflows."""

    def __init__(self, reconciler: "Reconciler", approvals: "ApprovalReconciler") -> None:
        self._reconciler = reconciler
        self._approvals = approvals

    @activity.defn
    async def reconcile(self) -> Reconciled:
        """Goes through all rows that are not terminal; a repeat finds nothing more to do.

        Fails when rows could not be repaired, and names them; by then all others are.
        """
        started: list[str] = []
        closed: list[str] = []
        async for approval_id, was_closed in self._approvals.repair():
            activity.heartbeat(approval_id)
            if was_closed:
                closed.append(approval_id)
        async for smart_contract_id, was_started in self._reconciler.repair():
            activity.heartbeat(smart_contract_id)
            if was_started is not None:
                (started if was_started else closed).append(smart_contract_id)
        return Reconciled(started=tuple(started), closed=tuple(closed))
