"""Rows and workflows compared: a row that is not terminal has an open workflow, or something went wrong.

A PO whose workflow never started (the API stopped between the two) is started. A PO whose workflow was terminated
from outside cannot go on: it is cancelled, its parts go back into the line, and a person is told. One whose workflow
ended by itself is what its workflow says.
"""

import json
from collections.abc import AsyncIterator

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from infra.client_po import ClientPOs
from infra.database import Row
from infra.ledger import Ledger
from infra.repairs import Repairs, closed_from_outside
from infra.temporal import ClientPOStarter, workflow_status
from schemas import names
from schemas.changes.alert import AlertResolved
from schemas.changes.client_po import ClientPOChanged
from schemas.client_po import ClientPOStatus
from schemas.client_po_life import LATE, REFUSED, ClientPOEnd, release_failure
from schemas.ledger import LedgerEntry
from schemas.part_arrival import PORef
from schemas.reconcile import Repaired


class ClientPOReconciler:
    """Repairs each row at most once; what it does is idempotent."""

    def __init__(self, client: Client, client_pos: ClientPOs, ledger: Ledger, starter: ClientPOStarter) -> None:
        self._client = client
        self._client_pos = client_pos
        self._ledger = ledger
        self._starter = starter

    async def repair(self, repairs: Repairs) -> AsyncIterator[tuple[str, Repaired | None]]:
        """Each PO that is not terminal, and what was done for it."""
        after = ""
        while rows := await self._client_pos.not_terminal(after=after):
            for row in rows:
                after = row["smart_contract_id"]
                yield after, await repairs.attempt(after, self._repair(row))

    async def _repair(self, row: Row) -> Repaired | None:
        status = await workflow_status(self._client, row["workflow_id"])
        if status is None:
            await self._starter.start(json.loads(row["document"]), row["document_hash"], row["staged_timestamp"])
            return Repaired.STARTED
        if status is WorkflowExecutionStatus.RUNNING:
            return None
        current = await self._client_pos.get(row["smart_contract_id"])
        if current is None or current["status"] != row["status"]:
            return None  # it ended well while we looked
        if status is WorkflowExecutionStatus.COMPLETED:
            await self._correct(row)
            return None
        await self._give_up(row, status.name.lower())
        return Repaired.CLOSED

    async def _correct(self, row: Row) -> None:
        """What the workflow says of its end is the truth: a PO that is at its node is never cancelled here."""
        name = row["smart_contract_id"]
        handle = self._client.get_workflow_handle(row["workflow_id"], result_type=ClientPOEnd)
        end = await handle.result()
        text = f"The row of PO {name} said {row['status']}, but the PO is {end.status}: the row was corrected."
        await self._record(
            row,
            "correct_row",
            text,
            {"was": row["status"], "status": end.status},
            ClientPOChanged(smart_contract_id=name, status=end.status, receipt_hash=end.receipt_hash),
        )

    async def _give_up(self, row: Row, how: str) -> None:
        name = row["smart_contract_id"]
        text = f"The workflow of PO {name} was {how} from outside, its parts were given back: stage it under a new ID."
        line = self._client.get_workflow_handle(names.part_arrival_id(row["part_id"], row["part_number"]))
        try:
            await line.signal(names.LEAVE, PORef(smart_contract_id=name, ticket=0))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        await self._record(
            row,
            "cancel_client_po",
            text,
            {"workflow": how},
            ClientPOChanged(smart_contract_id=name, status=ClientPOStatus.CANCELLED, pending_approval=None),
        )

    async def _record(
        self, row: Row, action: str, text: str, metadata: dict[str, str], change: ClientPOChanged
    ) -> None:
        name = row["smart_contract_id"]
        entry = LedgerEntry(
            idempotency_key=f"{name}:workflow_closed",
            action_type="handoff",
            action=action,
            target=name,
            details=text,
            metadata={"staging_id": row["staging_id"], **metadata},
        )
        over = (AlertResolved(cause=release_failure(name, what)) for what in (LATE, REFUSED))
        await self._ledger.record(closed_from_outside(entry, change, *over))
