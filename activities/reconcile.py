"""Finding rows whose workflow no longer agrees: of POs, tests, transfers, approvals, traces, maintenance contracts.

Of a contract also its patterns of alerts, what its nodes are to be told, and nodes that it has not been deployed to.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from temporalio import activity

from schemas.reconcile import Reconciled, Repaired

if TYPE_CHECKING:
    from infra.repairs import Reconciler, Repairs


class ReconcileActivities:
    """The daily comparison of rows with workflows."""

    def __init__(self, repairs: "Callable[[], Repairs]", *reconcilers: "Reconciler") -> None:
        """`repairs` are those of one run; `reconcilers` take their turns in this order."""
        self._repairs = repairs
        self._reconcilers = reconcilers

    @activity.defn
    async def reconcile(self) -> Reconciled:
        """Goes through all rows that are not terminal; a repeat finds nothing more to do.

        Fails when rows could not be repaired, and names them; by then all others are.
        """
        repairs = self._repairs()
        found: dict[Repaired, list[str]] = {repaired: [] for repaired in Repaired}
        for reconciler in self._reconcilers:
            async for name, repaired in reconciler.repair(repairs):
                activity.heartbeat(name)
                if repaired is not None:
                    found[repaired].append(name)
        await repairs.finish()
        return Reconciled(started=tuple(found[Repaired.STARTED]), closed=tuple(found[Repaired.CLOSED]))
