"""Transfers without an open workflow: what a Guardian authorized is moved all the same.

One that was never started is started. One that was closed from outside is started again where its row stands, and a
person is told. Nothing is received twice: receivers keep what they have under the ID of the package.
"""

from collections.abc import AsyncIterator

from temporalio.client import Client, WorkflowExecutionStatus

from infra.database import Row
from infra.ledger import Ledger
from infra.repairs import Repairs
from infra.temporal import workflow_status
from infra.transfer import Transfers, start_transfer
from schemas import names
from schemas.alert import Alert, Severity
from schemas.changes.alert import AlertRaised
from schemas.guardian import AuthorizationPackage
from schemas.ledger import LedgerEntry
from schemas.reconcile import Repaired
from schemas.record import Record
from schemas.transfer import Destination, LegLife, LegStatus, TransferLife, TransferStart

_GOES_ON = frozenset({WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED})


class TransferReconciler:
    """Starts them; a repeat finds nothing more to do."""

    def __init__(self, client: Client, transfers: Transfers, ledger: Ledger) -> None:
        self._client = client
        self._transfers = transfers
        self._ledger = ledger

    async def repair(self, repairs: Repairs) -> AsyncIterator[tuple[str, Repaired | None]]:
        """Each transfer that has not ended, and what was done for it."""
        after = ""
        while rows := await self._transfers.not_ended(after=after):
            for row in rows:
                after = row["package_id"]
                yield after, await repairs.attempt(after, self._repair(row))

    async def _repair(self, row: Row) -> Repaired | None:
        status = await workflow_status(self._client, names.transfer_id(row["package_id"]))
        if status in _GOES_ON:
            return None
        start = await self._start(row)
        if start.life is not None and status is not None:
            await self._record(row, status.name.lower(), start.signals)
        return Repaired.STARTED if await start_transfer(self._client, start) else None

    async def _start(self, row: Row) -> TransferStart:
        """Where it stands. Entries are counted so that no signal to come has a number under which one was recorded."""
        package = AuthorizationPackage.model_validate_json(row["package"])
        if row["vault_status"] == LegStatus.PENDING:
            return TransferStart(package=package)
        life = TransferLife(legs={leg: _leg(row, leg) for leg in Destination}, disposition=row["disposition"])
        entries = await self._ledger.timeline(package.package_id)
        return TransferStart(package=package, life=life, signals=len(entries))

    async def _record(self, row: Row, how: str, number: int) -> None:
        name = row["package_id"]
        event = f"{name}:workflow_closed:{number}"
        text = f"The workflow of transfer {name} was {how} from outside. It was started again where it stood."
        alert = Alert(
            alert_id=event,
            alert_type="workflow_closed",
            severity=Severity.HIGH,
            source=names.RECONCILE_ID,
            subject=name,
            text=text,
        )
        entry = LedgerEntry(
            idempotency_key=event,
            action_type="handoff",
            action="restart_transfer",
            target=name,
            details=text,
            smart_id=row["node_id"],
            metadata={"workflow": how},
        )
        await self._ledger.record(Record(entry=entry, changes=(AlertRaised(alert=alert),)))


def _leg(row: Row, leg: Destination) -> LegLife:
    """What was being sent is prepared anew; whoever waits for a person goes on waiting, under the same alert."""
    status, attempts = LegStatus(row[f"{leg}_status"]), row[f"{leg}_attempts"]
    return LegLife(
        status=LegStatus.PREPARING if status is LegStatus.TRANSFERRING else status,
        attempts=attempts,
        escalations=int(attempts > 0),
        error=row[f"{leg}_error"],
    )
