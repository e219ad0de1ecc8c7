"""Versions of maintenance contracts without an open workflow: they go on where their row stands.

A draft that was never started is started. A version whose workflow was closed from outside is started again, and a
person is told; its nodes execute it all the while. Nothing is sent to a node twice: each order has a workflow of its
own. An approval that was asked for is waited for again. A version that has not heard what its nodes said is told.
"""

import json
from collections.abc import AsyncIterator, Sequence

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from infra.database import Row
from infra.ledger import Ledger
from infra.maintenance import MaintenanceContracts
from infra.maintenance_drafts import Drafts
from infra.repairs import GOES_ON, Repairs, closed_from_outside, how_closed
from infra.temporal import workflow_status
from schemas import names
from schemas.ledger import LedgerEntry, RecordedEntry
from schemas.maintenance import IN_FORCE, ContractStatus, Validation
from schemas.maintenance_life import ContractLife, DeploymentsChanged, PendingDeployment
from schemas.maintenance_version import ContractChange, VersionRef
from schemas.reconcile import Repaired


class MaintenanceReconciler:
    """Starts them; a repeat finds nothing more to do."""

    def __init__(self, client: Client, contracts: MaintenanceContracts, ledger: Ledger, drafts: Drafts) -> None:
        self._client = client
        self._contracts = contracts
        self._ledger = ledger
        self._drafts = drafts

    async def repair(self, repairs: Repairs) -> AsyncIterator[tuple[str, Repaired | None]]:
        """Each version that is not archived, by its workflow, and what was done for it."""
        after = ("", "")
        while rows := await self._contracts.not_terminal(after=after):
            for row in rows:
                after = row["contract_id"], row["version"]
                ref = VersionRef(contract_id=row["contract_id"], version=row["version"])
                yield ref.workflow_id, await repairs.attempt(ref.workflow_id, self._repair(ref, row))

    async def _repair(self, ref: VersionRef, row: Row) -> Repaired | None:
        status = await workflow_status(self._client, ref.workflow_id)
        if status is WorkflowExecutionStatus.RUNNING:
            await self._tell(ref)
        if status in GOES_ON:
            return None
        return Repaired.STARTED if await self._start(ref, row, status) else None

    async def _tell(self, ref: VersionRef) -> None:
        """It looks for itself, and does nothing where nothing follows."""
        progress = await self._contracts.progress(ref)
        if progress is None or progress.next is None:
            return
        try:
            handle = self._client.get_workflow_handle(ref.workflow_id)
            await handle.signal(names.DEPLOYMENTS_CHANGED, DeploymentsChanged())
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def _start(self, ref: VersionRef, row: Row, status: WorkflowExecutionStatus | None) -> bool:
        if status is None and row["status"] == ContractStatus.DRAFT:
            return await self._drafts.start(row)
        entries = [one for one in await self._ledger.timeline(ref.contract_id) if _is_about(ref, one)]
        await self._record(ref, how_closed(status), len(entries))
        return await self._drafts.start(row, life=_life(row, entries), signals=len(entries) + 1)

    async def _record(self, ref: VersionRef, how: str, number: int) -> None:
        entry = LedgerEntry(
            idempotency_key=f"{ref.workflow_id}:workflow_closed:{number}",
            action_type="maintenance",
            action="restart_contract",
            target=ref.contract_id,
            details=f"The workflow of {ref} was {how} from outside. It was started again where it stood.",
            metadata={"workflow": how, "version": ref.version},
        )
        await self._ledger.record(closed_from_outside(entry))


def _life(row: Row, entries: Sequence[RecordedEntry]) -> ContractLife:
    """As rows and ledger know it."""
    deployed = [entry.seq for entry in entries if entry.action == "deploy_contract"]
    return ContractLife(
        status=row["status"],
        document=json.loads(row["document"]),
        document_hash=row["document_hash"],
        changes=tuple(ContractChange.model_validate(change) for change in json.loads(row["changes"] or "[]")),
        validation=Validation.model_validate_json(row["faults"]) if row["faults"] else None,
        asked=sum(entry.action == "ask_approval" for entry in entries),
        deployment=_deployment(entries) if row["status"] in (ContractStatus.VALIDATED, *IN_FORCE) else None,
        publish_fault=row["publish_fault"],
        publish_faults=sum(one.action == "policy_fault" and "node_id" not in one.metadata for one in entries),
        number=deployed[-1] if deployed else None,
        file_hash=row["file_hash"],
        sent=len(deployed) > 1,  # further nodes are told by whoever looks after what they are to be told
        active_since=row["active_at"],
        retirement_reason=row["retirement_reason"],
        tokens=[entry.metadata["decision"]["token_id"] for entry in entries if "proof" in entry.metadata],
    )


def _deployment(entries: Sequence[RecordedEntry]) -> PendingDeployment | None:
    """The one that was asked for last, unless it was given up or done."""
    asked = next((entry for entry in reversed(entries) if entry.action == "ask_approval"), None)
    if asked is None:
        return None
    approval_id = asked.metadata["approval_id"]
    then = {entry.action: entry for entry in entries if entry.metadata.get("approval_id") == approval_id}
    if "keep_contract" in then or "deploy_contract" in then:
        return None
    approved = then.get("approve_deployment")
    return PendingDeployment(
        approval_id=approval_id,
        content_hash=asked.metadata["approval_hash"],
        nodes=tuple(asked.metadata["nodes"]),
        approved_by=approved.user_id if approved else None,
    )


def _is_about(ref: VersionRef, entry: RecordedEntry) -> bool:
    return entry.metadata.get("version") == ref.version
