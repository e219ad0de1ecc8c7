"""Approvals whose workflow was closed from outside: whoever asked would wait for an answer for ever.

An end is recorded first, and then whoever asked is woken. Who is killed between the two leaves an approval that has
ended and of which nobody has heard: that is woken for as well. Being woken twice changes nothing.
"""

from collections.abc import AsyncIterator

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from infra.approvals import Approvals
from infra.database import Row
from infra.ledger import Ledger
from infra.repairs import Repairs, closed_from_outside
from infra.temporal import workflow_status
from schemas import names
from schemas.approval import RULES, ApprovalEnded, ApprovalStatus, ApprovalType, waiting_causes
from schemas.changes.alert import AlertResolved
from schemas.changes.approval import ApprovalChanged
from schemas.ledger import LedgerEntry
from schemas.reconcile import Repaired


class ApprovalReconciler:
    """Cancels them and wakes whoever asked and has not heard; what it does is idempotent."""

    def __init__(self, client: Client, approvals: Approvals, ledger: Ledger) -> None:
        self._client = client
        self._approvals = approvals
        self._ledger = ledger

    async def repair(self, repairs: Repairs) -> AsyncIterator[tuple[str, Repaired | None]]:
        """Each approval that is open or unheard, and what was done for it."""
        for row in await self._approvals.unheard():
            name = row["approval_id"]
            yield name, await repairs.attempt(name, self._wake(row))
        after = ""
        while rows := await self._approvals.open(after=after):
            for row in rows:
                after = row["approval_id"]
                yield after, await repairs.attempt(after, self._repair(row))

    async def _repair(self, row: Row) -> Repaired | None:
        approval_id = row["approval_id"]
        if (
            await workflow_status(self._client, names.approval_workflow_id(approval_id))
            is WorkflowExecutionStatus.RUNNING
        ):
            return None
        current = await self._approvals.get(approval_id)
        if current is None or current["status"] != ApprovalStatus.OPEN:
            return None  # it ended well while we looked
        await self._cancel(row)
        return Repaired.CLOSED

    async def _cancel(self, row: Row) -> None:
        approval_id = row["approval_id"]
        entry = LedgerEntry(
            idempotency_key=f"{names.approval_workflow_id(approval_id)}:workflow_closed",
            action_type="approval",
            action="cancel_approval",
            target=approval_id,
            details=f"The workflow of approval {approval_id} was closed from outside: it is cancelled, ask again.",
            metadata={"subject": row["subject"]},
        )
        change = ApprovalChanged(approval_id=approval_id, status=ApprovalStatus.CANCELLED, ended_now=True)
        causes = waiting_causes(approval_id, RULES[ApprovalType(row["request_type"])])
        over = (AlertResolved(cause=cause) for cause in causes)
        await self._ledger.record(closed_from_outside(entry, change, *over, subject=row["subject"]))
        if row["wakes"] is not None:
            await self._wake(row)

    async def _wake(self, row: Row) -> None:
        try:
            await self._client.get_workflow_handle(row["wakes"]).signal(
                names.APPROVAL_ENDED, ApprovalEnded(approval_id=row["approval_id"])
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
