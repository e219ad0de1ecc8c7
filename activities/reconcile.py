"""Finding POs, tests, transfers, approvals and maintenance contracts whose row and workflow no longer agree."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas import names
from schemas.reconcile import Reconciled

if TYPE_CHECKING:
    from infra.approval_reconcile import ApprovalReconciler
    from infra.maintenance_reconcile import MaintenanceReconciler
    from infra.reconcile import Reconciler
    from infra.test_reconcile import TestReconciler
    from infra.transfer_reconcile import TransferReconciler


class ReconcileActivities:
    """The daily comparison of rows with workflows."""

    def __init__(
        self,
        reconciler: "Reconciler",
        approvals: "ApprovalReconciler",
        tests: "TestReconciler",
        transfers: "TransferReconciler",
        maintenance: "MaintenanceReconciler",
    ) -> None:
        self._reconciler = reconciler
        self._approvals = approvals
        self._tests = tests
        self._transfers = transfers
        self._maintenance = maintenance

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
        async for tested, was_closed in self._tests.repair():
            activity.heartbeat(tested)
            if was_closed:
                closed.append(names.test_execution_id(tested))
        async for package_id, was_moved in self._transfers.repair():
            activity.heartbeat(package_id)
            if was_moved:
                started.append(package_id)
        async for version, was_started in self._maintenance.repair():
            activity.heartbeat(version)
            if was_started:
                started.append(version)
        async for smart_contract_id, po_started in self._reconciler.repair():
            activity.heartbeat(smart_contract_id)
            if po_started is not None:
                (started if po_started else closed).append(smart_contract_id)
        return Reconciled(started=tuple(started), closed=tuple(closed))
