"""The search of a reverse trace: the ledger's results that are in doubt, recorded and alerted.

A result belongs to the last `start_test` of its contract before its `submit_results`; what that entry froze says with
which instruments it was measured, and on which calibration of each it relied. All results are found that were ever
given, also those that were rejected or replaced since: somebody may have relied on them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import Row, many, one, rows
from infra.ledger import Ledger
from infra.registry import Registry
from infra.rows.reverse_trace import waiting_results
from infra.tables.ledger import ledger_entries
from infra.tables.reverse_trace import traced_results
from infra.tables.test_execution import tests
from schemas import names
from schemas.alert import Alert, Severity
from schemas.changes.alert import AlertRaised
from schemas.changes.reverse_trace import ResultsTraced, TraceSearched
from schemas.ledger import LedgerEntry
from schemas.record import Change, Record
from schemas.reverse_trace import (
    Horizon,
    Search,
    Searched,
    Selection,
    TracedResult,
    TraceStart,
    UnderWay,
    decided_content,
    in_doubt_cause,
)
from schemas.test_execution import TERMINAL, TestStatus
from schemas.test_results import Begun, Instrument

Item = TypeVar("Item")

STRETCH = 5_000
"""Entries of the ledger that are read at once; a search that was interrupted goes on behind the last one."""

PAGE = 500
"""Results that are recorded with one entry."""

ALERTS = 100
"""Client orders that are alerted with one entry."""

MOST_TESTS = 1000
"""Tests under way that are told at a time; the others after some of these have ended."""

# `names_it` is a quick look at the canonical text, in which a name in quotes can be nothing else. Rows say what entries
# do not (order and verdict); one that is missing hides no result.
_SEARCH = text("""
    SELECT submitted.target, submitted.smart_id, submitted.occurred_at, given.revision, result.test_id,
        result.content_hash, begun.instruments, begun.started_at,
        COALESCE(tests.clientpo_id, 'unknown') AS clientpo_id, COALESCE(known.verdict, 'unknown') AS verdict
    FROM ledger_entries AS submitted
    CROSS JOIN LATERAL (
        SELECT entry FROM ledger_entries AS start
        WHERE start.target = submitted.target AND start.seq < submitted.seq AND start.action = 'start_test'
        ORDER BY start.seq DESC LIMIT 1
    ) AS start
    CROSS JOIN LATERAL (
        SELECT begun ->> 'instruments' AS instruments, begun ->> 'started_at' AS started_at
        FROM (SELECT start.entry::json #> '{metadata,begun}' AS begun) AS metadata
    ) AS begun
    CROSS JOIN LATERAL (
        SELECT (metadata ->> 'revision')::int AS revision, metadata -> 'content_hashes' AS content_hashes
        FROM (SELECT submitted.entry::json -> 'metadata' AS metadata) AS metadata
    ) AS given
    CROSS JOIN LATERAL json_each_text(given.content_hashes) AS result (test_id, content_hash)
    LEFT JOIN tests ON tests.smart_contract_id = submitted.target
    LEFT JOIN test_results AS known ON known.smart_contract_id = submitted.target
        AND known.revision = given.revision AND known.test_id = result.test_id
    WHERE submitted.seq >= :first AND submitted.seq <= :last AND submitted.recorded_at >= :since
        AND submitted.action_type = 'test' AND submitted.action = 'submit_results'
        AND strpos(start.entry, :names_it) > 0
    ORDER BY submitted.seq, result.test_id COLLATE "C"
""")

# In this order: a test that is not under way any more has given its results before the ledger's end is read.
_UNDER_WAY = (
    select(tests.c.smart_contract_id, tests.c.status, tests.c.begun)
    .where(tests.c.begun.is_not(None), tests.c.status.in_([status for status in TestStatus if status not in TERMINAL]))
    .order_by(tests.c.smart_contract_id)
)

_LEDGER_ENDS = select(func.coalesce(func.max(ledger_entries.c.seq), -1))


class Searcher:
    """Searches the ledger for what is in doubt, records it in pages, and alerts the client orders concerned."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger, registry: Registry) -> None:
        self._engine = engine
        self._ledger = ledger
        self._registry = registry

    async def look(self, trace: TraceStart) -> Horizon:
        """The end of the ledger, and the tests that may still give results with the instrument."""
        candidates = _UNDER_WAY.where(func.strpos(tests.c.begun, _names_it(trace)) > 0)
        async with self._engine.connect() as connection:
            measuring = await rows(connection, candidates)
            until = await connection.scalar(_LEDGER_ENDS)
        under_way = [
            UnderWay(smart_contract_id=row["smart_contract_id"], status=row["status"])
            for row in measuring
            for begun in [Begun.model_validate_json(row["begun"])]
            if trace.doubts(begun.instruments, begun.started_at)
        ]
        return Horizon(until=until, tests=tuple(under_way[:MOST_TESTS]))

    async def search(self, search: Search, goes_on: int, reached: Callable[[int], None]) -> Searched:
        """Finds the same however often it is tried. `reached` is told behind which entry it would go on."""
        for first in range(max(search.after + 1, goes_on), search.until + 1, STRETCH):
            last = min(first + STRETCH - 1, search.until)
            found = await self._stretch(search.trace, first, last)
            for number, results in enumerate(_pages(found, PAGE), start=1):
                event = f"found:{first}-{last}:{number}"
                await self._ledger.record(_listed(search.trace, event, results, first, last))
            reached(last + 1)
        searched = await self._counted(search.trace)
        if searched.found > search.known:
            await self._alert(search)
        if searched.found > search.known or search.after < 0:
            await self._ledger.record(_searched(search, searched))
        return searched

    async def _stretch(self, trace: TraceStart, first: int, last: int) -> list[TracedResult]:
        terms = {"first": first, "last": last, "since": trace.begins_at(None), "names_it": _names_it(trace)}
        async with self._engine.connect() as connection:
            found = await rows(connection, _SEARCH, terms)
        return [_result(row) for row in found if self._in_doubt(trace, row)]

    def _in_doubt(self, trace: TraceStart, row: Row) -> bool:
        node = row["smart_id"]
        zone = self._registry[node].zone if node in self._registry else None
        instruments = [Instrument.model_validate(one) for one in json.loads(row["instruments"])]
        started_at = datetime.fromisoformat(row["started_at"])
        return bool(row["occurred_at"] >= trace.begins_at(zone) and trace.doubts(instruments, started_at))

    async def _counted(self, trace: TraceStart) -> Searched:
        row = traced_results.c
        query = select(func.count().label("found"), func.count().filter(row.disposition.is_(None)).label("waiting"))
        counted = await one(self._engine, query.where(row.trace_id == trace.trace_id))
        return Searched.model_validate(counted)

    async def _alert(self, search: Search) -> None:
        """One alert for a client order, of whatever number of results."""
        row = traced_results.c
        waiting = (
            select(row.clientpo_id, func.count().label("results"))
            .where(*waiting_results(search.trace.trace_id, Selection()))
            .group_by(row.clientpo_id)
            .order_by(row.clientpo_id)
        )
        orders = await many(self._engine, waiting)
        for number, concerned in enumerate(_pages(orders, ALERTS), start=1):
            await self._ledger.record(_alerted(search, number, concerned))


def _names_it(trace: TraceStart) -> str:
    return f'"equipment_id":"{trace.equipment_id}"'


def _result(row: Row) -> TracedResult:
    return TracedResult(
        smart_contract_id=row["target"],
        node_id=row["smart_id"],
        submitted_at=row["occurred_at"],
        **{name: row[name] for name in ("revision", "test_id", "clientpo_id", "verdict", "content_hash")},
    )


def _pages(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


# --- what is recorded ------------------------------------------------------------------------------------------------


def _record(trace: TraceStart, event: str, details: str, metadata: dict[str, Any], *changes: Change) -> Record:
    entry = LedgerEntry(
        idempotency_key=f"{names.reverse_trace_id(trace.trace_id)}:{event}",
        action_type="maintenance",
        action="trace_results",
        target=trace.trace_id,
        details=details,
        metadata={
            "equipment_id": trace.equipment_id,
            "certificate_number": trace.certificate_number,
            **metadata,
        },
    )
    return Record(entry=entry, changes=changes)


def _listed(trace: TraceStart, event: str, page: Sequence[TracedResult], first: int, last: int) -> Record:
    """The rows say which; the hash over them stands in the ledger."""
    keys = [(one.smart_contract_id, one.revision, one.test_id, one.content_hash) for one in page]
    return _record(
        trace,
        event,
        f"{len(page)} results were measured with {trace.equipment_id}, in entries {first} to {last}",
        {"first": first, "last": last, "results": len(page), "content_hash": decided_content(trace.trace_id, keys)},
        ResultsTraced(trace_id=trace.trace_id, results=tuple(page)),
    )


def _searched(search: Search, searched: Searched) -> Record:
    trace = search.trace
    return _record(
        trace,
        f"searched:{search.until}",
        f"Searched up to entry {search.until}: {searched.found} results are in doubt, {searched.waiting} of them wait",
        {"until": search.until, **searched.model_dump()},
        TraceSearched(trace_id=trace.trace_id),
    )


def _alerted(search: Search, number: int, orders: Sequence[Row]) -> Record:
    concerned = [order["clientpo_id"] for order in orders]
    alerts = [AlertRaised(alert=_alert(search, order["clientpo_id"], order["results"])) for order in orders]
    text = f"{len(orders)} client orders have results in doubt"
    return _record(search.trace, f"alerts:{search.until}:{number}", text, {"client_orders": concerned}, *alerts)


def _alert(search: Search, clientpo_id: str, results: int) -> Alert:
    trace, workflow_id = search.trace, names.reverse_trace_id(search.trace.trace_id)
    return Alert(
        alert_id=f"{workflow_id}:{search.until}:{clientpo_id}",
        alert_type="results_in_doubt",
        severity=Severity.HIGH,
        source=workflow_id,
        subject=clientpo_id,
        text=(
            f"{results} results of client order {clientpo_id} were measured with {trace.equipment_id}, which turned "
            f"out to be bad (certificate {trace.certificate_number}). Decide whether they are used as they are, "
            f"measured again or withdrawn: POST /api/v1/traces/{trace.trace_id}/dispositions."
        ),
        cause=in_doubt_cause(trace.trace_id, clientpo_id),
    )
