"""Reverse traces without an open workflow: what is in doubt waits for a disposition all the same.

One that was closed from outside is started again where its rows stand, and a person is told. It searches the ledger
behind the last entry that it is known to have searched; what it finds twice is one result. One that whoever recorded
its calibration did not come to start is started now.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from temporalio.client import Client

from infra.database import Row
from infra.equipment_register import EquipmentRegister
from infra.ledger import Ledger
from infra.repairs import GOES_ON, Repairs, closed_from_outside, how_closed
from infra.reverse_trace import ReverseTraces, start_again
from infra.temporal import workflow_status
from schemas import names
from schemas.equipment import CalibrationRecord
from schemas.equipment_register import CalibrationAsked
from schemas.ledger import LedgerEntry
from schemas.reconcile import Repaired
from schemas.reverse_trace import TraceLife, TraceStart, trace_id


class TraceReconciler:
    """Starts them; a repeat finds nothing more to do."""

    def __init__(self, client: Client, traces: ReverseTraces, register: EquipmentRegister, ledger: Ledger) -> None:
        self._client = client
        self._traces = traces
        self._register = register
        self._ledger = ledger

    async def repair(self, repairs: Repairs) -> AsyncIterator[tuple[str, Repaired | None]]:
        """Each trace that is not closed, or not even opened, by its workflow, and what was done for it."""
        for row in await self._traces.not_opened():
            calibration = CalibrationRecord.model_validate_json(row["calibration"])
            if calibration.puts_in_doubt:
                name = names.reverse_trace_id(trace_id(calibration.equipment_id, calibration.certificate_number))
                yield name, await repairs.attempt(name, self._begin(calibration, max(row["recorded_at"], row["known"])))
        for row in await self._traces.not_closed():
            name = names.reverse_trace_id(row["trace_id"])
            yield name, await repairs.attempt(name, self._repair(row))

    async def _begin(self, calibration: CalibrationRecord, found_at: datetime) -> Repaired | None:
        """As what follows a calibration does: of both that start it at once, one does."""
        asked = CalibrationAsked(
            equipment_id=calibration.equipment_id, certificate_number=calibration.certificate_number
        )
        found = await self._register.calibration(asked)
        start = TraceStart.of(calibration, found.good_since, found_at.astimezone(UTC))
        return Repaired.STARTED if await start_again(self._client, start) else None

    async def _repair(self, row: Row) -> Repaired | None:
        name = row["trace_id"]
        status = await workflow_status(self._client, names.reverse_trace_id(name))
        if status in GOES_ON:
            return None
        entries = await self._ledger.timeline(name)
        await self._record(name, how_closed(status), len(entries))
        over = [entry.metadata for entry in entries if "until" in entry.metadata]
        last = over[-1] if over else {"until": -1, "found": 0}
        life = TraceLife(
            searched=last["until"],
            found=last["found"],  # not what is listed: a search that was cut off may have alerted nobody of that
            waiting=row["waiting"],
            held=await self._traces.held(name, row["opened_at"]),
            tokens=[entry.metadata["decision"]["token_id"] for entry in entries if entry.action == "dispose_traced"],
        )
        start = TraceStart(
            trace_id=name,
            equipment_id=row["equipment_id"],
            certificate_number=row["certificate_number"],
            calibrated_on=row["calibrated_on"],
            since=row["since"],
            found_at=row["found_at"].astimezone(UTC),
            life=life,
            signals=len(entries) + 1,
        )
        return Repaired.STARTED if await start_again(self._client, start) else None

    async def _record(self, name: str, how: str, number: int) -> None:
        workflow_id = names.reverse_trace_id(name)
        text = f"The workflow of reverse trace {name} was {how} from outside. It was started again where it stood."
        entry = LedgerEntry(
            idempotency_key=f"{workflow_id}:workflow_closed:{number}",
            action_type="maintenance",
            action="restart_trace",
            target=name,
            details=text,
            metadata={"workflow": how},
        )
        await self._ledger.record(closed_from_outside(entry))
