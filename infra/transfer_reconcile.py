"""Transfers without an open workflow: what a Guardian authorized is moved all the same.

One that was never started is started. One that was closed from outside is started again where its row stands, and a
person is told. Nothing is received twice: receivers keep what they have under the ID of the package.
"""

from collections.abc import AsyncIterator

from temporalio.client import Client

from infra.database import Row
from infra.ledger import Ledger
from infra.repairs import GOES_ON, Repairs, closed_from_outside
from infra.temporal import workflow_status
from infra.transfer import Transfers, start_transfer
from schemas import names
from schemas.guardian import AuthorizationPackage
from schemas.ledger import LedgerEntry
from schemas.reconcile import Repaired
from schemas.transfer import Destination, LegLife, LegStatus, TransferLife, TransferStart


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
        if status in GOES_ON:
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
        entry = LedgerEntry(
            idempotency_key=f"{name}:workflow_closed:{number}",
            action_type="handoff",
            action="restart_transfer",
            target=name,
            details=f"The workflow of transfer {name} was {how} from outside. It was started again where it stood.",
            smart_id=row["node_id"],
            metadata={"workflow": how},
        )
        await self._ledger.record(closed_from_outside(entry))


def _leg(row: Row, leg: Destination) -> LegLife:
    """What was being sent is prepared anew; whoever waits for a person goes on waiting, under the same alert."""
    status, attempts = LegStatus(row[f"{leg}_status"]), row[f"{leg}_attempts"]
    return LegLife(
        status=LegStatus.PREPARING if status is LegStatus.TRANSFERRING else status,
        attempts=attempts,
        escalations=int(attempts > 0),
        error=row[f"{leg}_error"],
    )
