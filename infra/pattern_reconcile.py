"""Reviews whose pattern has no open workflow: their answer would be heard by nobody.

It is started again: it reads from rows what was counted and asked, and follows an answer that was given meanwhile.
"""

from collections.abc import AsyncIterator

from temporalio.client import Client, WorkflowExecutionStatus

from infra.database import Row
from infra.ledger import Ledger
from infra.maintenance_alerts import MaintenancePatterns, MaintenanceReviews
from infra.repairs import Repairs, closed_from_outside, how_closed
from infra.temporal import workflow_status
from schemas import names
from schemas.ledger import LedgerEntry
from schemas.reconcile import Repaired


class PatternReconciler:
    """Starts them; a repeat finds nothing more to do."""

    def __init__(
        self, client: Client, reviews: MaintenanceReviews, patterns: MaintenancePatterns, ledger: Ledger
    ) -> None:
        self._client = client
        self._reviews = reviews
        self._patterns = patterns
        self._ledger = ledger

    async def repair(self, repairs: Repairs) -> AsyncIterator[tuple[str, Repaired | None]]:
        """The pattern of each open review, by its workflow, and what was done for it."""
        for row in await self._reviews.open():
            name = names.maintenance_pattern_id(row["contract_id"], row["issue_type"])
            yield name, await repairs.attempt(name, self._repair(name, row))

    async def _repair(self, name: str, row: Row) -> Repaired | None:
        status = await workflow_status(self._client, name)
        if status is WorkflowExecutionStatus.RUNNING:
            return None
        await self._record(name, row, how_closed(status))
        await self._patterns.start(row["contract_id"], row["issue_type"])
        return Repaired.STARTED

    async def _record(self, name: str, row: Row, how: str) -> None:
        newest = await self._ledger.entries(target=row["contract_id"], action="restart_pattern", limit=1)
        review = row["review_id"]
        entry = LedgerEntry(
            idempotency_key=f"{name}:workflow_closed:{newest[0].seq if newest else 0}",
            action_type="maintenance",
            action="restart_pattern",
            target=row["contract_id"],
            details=f"The workflow of {name} was {how} from outside. It was started again, and review {review} waits.",
            metadata={"workflow": how, "issue_type": row["issue_type"], "review_id": row["review_id"]},
        )
        await self._ledger.record(closed_from_outside(entry))
