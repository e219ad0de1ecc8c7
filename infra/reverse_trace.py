"""Reverse traces as rows: what people look at and decide on, and what their workflows begin with."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, select, union
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from infra.database import Row, many, page
from infra.rows.reverse_trace import waiting_results
from infra.tables.equipment import calibrations, equipment
from infra.tables.ledger import ledger_entries
from infra.tables.reverse_trace import traced_results, traces
from infra.tables.test_execution import test_results, test_signoffs, tests
from infra.tables.transfer import transfers
from infra.temporal import RPC_TIMEOUT, STATUS
from schemas import names
from schemas.equipment import CalibrationResult
from schemas.reverse_trace import Selected, Selection, TraceStart, TraceStatus, decide_first, decided_content


class ReverseTraces:
    """What people look at and decide on; written only through the ledger's `record`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def select(self, trace_id: str, selection: Selection) -> Selected:
        """What a decision on those that are selected and wait decides on now."""
        row, result = traced_results.c, test_results.c
        waiting = waiting_results(trace_id, selection)
        these = select(row.smart_contract_id, row.revision, row.test_id, row.content_hash).where(*waiting)
        same = (
            row.smart_contract_id == result.smart_contract_id,
            row.revision == result.revision,
            row.test_id == result.test_id,
        )
        performed = select(result.submitted_by).join_from(traced_results, test_results, and_(*same))
        signed = select(test_signoffs.c.person).join_from(
            traced_results, test_signoffs, row.content_hash == test_signoffs.c.content_hash
        )
        signed = signed.where(row.smart_contract_id == test_signoffs.c.smart_contract_id)
        async with self._engine.connect() as connection:
            results = [tuple(found) for found in await connection.execute(these)]
            involved = (await connection.scalars(union(performed.where(*waiting), signed.where(*waiting)))).all()
        return Selected(
            count=len(results),
            content_hash=await asyncio.to_thread(decided_content, trace_id, results),  # there may be 100,000
            involved=tuple(sorted(involved)),
        )

    async def not_closed(self) -> list[Row]:
        """Those whose workflow should be open."""
        return await self._find([traces.c.closed_at.is_(None)], limit=None, offset=0)

    async def not_opened(self) -> list[Row]:
        """Calibrations without a trace that may put something in doubt, each with the time when it was `known` here."""
        calibration = calibrations.c
        opened = exists().where(
            traces.c.equipment_id == calibration.equipment_id,
            traces.c.certificate_number == calibration.certificate_number,
        )
        query = (
            select(calibrations, ledger_entries.c.recorded_at.label("known"))
            .join(ledger_entries, ledger_entries.c.seq == calibration.entry)
            .where(calibration.found_out_of_tolerance | (calibration.result == CalibrationResult.FAILED), ~opened)
            .order_by(calibration.entry)
        )
        return await many(self._engine, query)

    async def held(self, trace_id: str, since: datetime) -> list[str]:
        """The contracts whose tests this trace has told to hold, also where somebody has resumed them."""
        entry = ledger_entries.c
        named = func.strpos(entry.entry, decide_first(trace_id)) > 0
        query = select(entry.target).where(entry.action == "hold_test", entry.recorded_at >= since, named).distinct()
        return [row["target"] for row in await many(self._engine, query)]

    async def node_of(self, equipment_id: str) -> str | None:
        """Where the instrument is, as the register knows it."""
        async with self._engine.connect() as connection:
            return await connection.scalar(select(equipment.c.node_id).where(equipment.c.equipment_id == equipment_id))

    async def get(self, trace_id: str) -> Row | None:
        """One trace, with how many results it has and how many wait."""
        found = await self._find([traces.c.trace_id == trace_id], limit=1, offset=0)
        return found[0] if found else None

    async def find(
        self, *, equipment_id: str | None = None, open_: bool | None = None, limit: int, offset: int
    ) -> tuple[int, list[Row]]:
        """One page, the newest first, and how many there are in all."""
        conditions: list[ColumnElement[bool]] = []
        if equipment_id is not None:
            conditions.append(traces.c.equipment_id == equipment_id)
        if open_ is not None:
            conditions.append(traces.c.closed_at.is_(None) == open_)
        async with self._engine.connect() as connection:
            total = await connection.scalar(select(func.count()).select_from(traces).where(*conditions))
        return total or 0, await self._find(conditions, limit=limit, offset=offset)

    async def results(
        self, trace_id: str, selection: Selection, *, open_: bool | None = None, limit: int, offset: int
    ) -> tuple[int, list[Row]]:
        """One page by client order, contract and test, each with the package in which it stands and its transfer."""
        row = traced_results.c
        conditions = [row.trace_id == trace_id, *(row[name] == value for name, value in selection.terms.items())]
        if open_ is not None:
            conditions.append(row.disposition.is_(None) == open_)
        query = (
            select(traced_results, _package().label("package_id"), tests.c.status.label("test_status"))
            .join_from(traced_results, tests, tests.c.smart_contract_id == row.smart_contract_id, isouter=True)
            .where(*conditions)
            .order_by(row.clientpo_id, row.smart_contract_id, row.revision, row.test_id)
        )
        return await page(self._engine, query, limit=limit, offset=offset)

    async def orders(self, trace_id: str, *, limit: int) -> list[Row]:
        """Who is concerned: client orders with their results, those with most that wait first."""
        row = traced_results.c
        waiting = func.count().filter(row.disposition.is_(None))
        query = (
            select(row.clientpo_id, func.count().label("found"), waiting.label("waiting"))
            .where(row.trace_id == trace_id)
            .group_by(row.clientpo_id)
            .order_by(waiting.desc(), row.clientpo_id)
            .limit(limit)
        )
        return await many(self._engine, query)

    async def _find(self, conditions: Sequence[ColumnElement[bool]], *, limit: int | None, offset: int) -> list[Row]:
        row = traced_results.c
        counts = (
            select(
                func.count().label("found"),
                func.count().filter(row.disposition.is_(None)).label("waiting"),
                func.count(row.clientpo_id.distinct()).label("client_orders"),
            )
            .where(row.trace_id == traces.c.trace_id)
            .lateral("counts")
        )
        query = (
            select(traces, counts.c.found, counts.c.waiting, counts.c.client_orders)
            .where(*conditions)
            .order_by(traces.c.opened_at.desc(), traces.c.trace_id)
            .limit(limit)
            .offset(offset)
        )
        return await many(self._engine, query)


async def start_again(client: Client, start: TraceStart) -> bool:
    """A trace that may never have been begun; False where it is open, or has come to its end."""
    try:
        await client.start_workflow(
            "ReverseTraceWorkflow",
            start,
            id=names.reverse_trace_id(start.trace_id),
            task_queue=names.MAIN_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            search_attributes=TypedSearchAttributes([SearchAttributePair(STATUS, TraceStatus.SEARCHING.value)]),
            static_summary=f"{start.equipment_id} · found bad by {start.certificate_number}"[:200],
            rpc_timeout=RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


def _package() -> Any:
    """The package in which a result stands: the first that came after it, unless the test was measured anew before."""
    row, newer = traced_results.c, test_results.alias("newer")
    replaced = (
        select(newer.c.revision)
        .where(newer.c.smart_contract_id == row.smart_contract_id, newer.c.test_id == row.test_id)
        .where(newer.c.revision > row.revision, newer.c.revision <= transfers.c.revision)
        .correlate(traced_results, transfers)
        .exists()
    )
    return (
        select(transfers.c.package_id)
        .where(transfers.c.smart_contract_id == row.smart_contract_id, transfers.c.revision >= row.revision, ~replaced)
        .order_by(transfers.c.revision)
        .limit(1)
        .correlate(traced_results)
        .scalar_subquery()
    )
