"""Rows and workflows compared: a row that is not terminal has an open workflow, or something went wrong.

A PO whose workflow never started (the API stopped between the two) is started. A PO whose workflow was terminated
from outside cannot go on: it is cancelled, its parts go back into the line, and a person is told. One whose workflow
ended by itself is what its workflow says.
"""

import json
import logging
from collections.abc import AsyncIterator, Collection, Mapping

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from infra.alerts import Alerts, StandingAlerts
from infra.client_po import ClientPOs, Row
from infra.ledger import Ledger
from infra.temporal import ClientPOStarter
from schemas import names
from schemas.alert import Alert, Severity
from schemas.client_po import LATE, REFUSED, ClientPOEnd, ClientPOStatus, release_failure
from schemas.ledger import LedgerEntry
from schemas.part_arrival import PORef
from schemas.record import AlertRaised, AlertResolved, ClientPOChanged, Record

log = logging.getLogger(__name__)

NOT_RECONCILED = "not_reconciled"


class NotRepaired(Exception):
    """Rows whose repair failed, each with its error; the others were repaired all the same."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        name, first = next(iter(errors.items()))
        super().__init__(f"not repaired: {', '.join(errors)}; {name} because of {type(first).__name__}: {first}")
        self.errors = errors


class Reconciler:
    """Repairs each row at most once; what it does is idempotent."""

    def __init__(
        self, client: Client, client_pos: ClientPOs, alerts: Alerts, ledger: Ledger, starter: ClientPOStarter
    ) -> None:
        self._client = client
        self._alerts = alerts
        self._standing = StandingAlerts(alerts, ledger)
        self._client_pos = client_pos
        self._ledger = ledger
        self._starter = starter

    async def repair(self) -> AsyncIterator[tuple[str, bool | None]]:
        """Each row that is not terminal: its ID, and True when started, False when closed, None when nothing was done.

        A row whose repair fails does not keep the others from theirs; raises `NotRepaired` at the end.
        """
        after = ""
        errors: dict[str, Exception] = {}
        while rows := await self._client_pos.not_terminal(after=after):
            for row in rows:
                after = row["smart_contract_id"]
                repaired = None
                try:
                    repaired = await self._repair(row)
                except Exception as error:
                    log.exception("%s is not repaired", after)
                    errors[after] = error
                    await self._alert(after)
                yield after, repaired
        await self._resolve(errors)
        if errors:
            raise NotRepaired(errors) from next(iter(errors.values()))

    async def _alert(self, name: str) -> None:
        """What went wrong may be another thing each time, so the log says it."""
        text = f"PO {name} could not be reconciled with its workflow: look at the worker's log; it is tried again."
        await self._standing.raise_once(NOT_RECONCILED, name, text, severity=Severity.HIGH, source=names.RECONCILE_ID)

    async def _resolve(self, still: Collection[str]) -> None:
        """What is not among those that still fail is reconciled, or has ended by itself."""
        for alert in await self._alerts.open_of_type(NOT_RECONCILED):
            if alert["subject"] not in still:
                await self._standing.resolve(alert["cause"], "it agrees with its workflow")

    async def _repair(self, row: Row) -> bool | None:
        handle = self._client.get_workflow_handle(row["workflow_id"])
        try:
            status = (await handle.describe()).status
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await self._starter.start(json.loads(row["document"]), row["document_hash"], row["staged_timestamp"])
            return True
        if status is WorkflowExecutionStatus.RUNNING:
            return None
        current = await self._client_pos.get(row["smart_contract_id"])
        if current is None or current["status"] != row["status"]:
            return None  # it ended well while we looked
        if status is WorkflowExecutionStatus.COMPLETED:
            await self._correct(row)
            return None
        await self._give_up(row, status.name.lower() if status else "closed")
        return False

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
        event = f"{name}:workflow_closed"
        alert = Alert(
            alert_id=event,
            alert_type="workflow_closed",
            severity=Severity.HIGH,
            source="reconcile",
            subject=name,
            text=text,
        )
        entry = LedgerEntry(
            idempotency_key=event,
            action_type="handoff",
            action=action,
            target=name,
            details=text,
            metadata={"staging_id": row["staging_id"], **metadata},
        )
        over = (AlertResolved(cause=release_failure(name, what)) for what in (LATE, REFUSED))
        await self._ledger.record(Record(entry=entry, changes=(change, *over, AlertRaised(alert=alert))))
