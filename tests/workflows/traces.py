"""A test's reverse trace: what the search finds, and when, is what the test says."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowExecutionStatus

from activities.reverse_trace import ReverseTraceActivities
from schemas import names
from schemas.alert import Alert, Severity
from schemas.changes.alert import AlertRaised
from schemas.changes.reverse_trace import ResultsTraced
from schemas.equipment import CalibrationRecord, CalibrationResult
from schemas.ledger import LedgerEntry
from schemas.permission import Role
from schemas.record import Record
from schemas.reverse_trace import (
    SEARCH_AGAIN,
    Horizon,
    Search,
    Searched,
    Selected,
    Selection,
    TraceDisposition,
    TracedResult,
    TraceStart,
    UnderWay,
    decided_content,
    disposition_wanted,
    in_doubt_cause,
)
from tests.workflows.shop import MemoryLedger, Shop, until
from workflows.reverse_trace import ReverseTraceWorkflow

if TYPE_CHECKING:
    from temporalio.client import WorkflowHandle

    from schemas.test_execution import TestStatus

FOUND_AT = datetime(2026, 7, 2, 8, tzinfo=UTC)


class MemorySearch:
    """Stands in for the search and the rows: finds what the test has put there."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self.there: list[TracedResult] = []
        self.under_way: dict[str, TestStatus] = {}
        self.failures = 0
        self.searches: list[Search] = []
        self.involved: tuple[str, ...] = ("pia", "ina")
        self.news = False

    async def node_of(self, _equipment_id: str) -> str:
        return "NODE"

    async def has_news(self, _node_id: str) -> bool:
        return self.news

    async def look(self, _trace: TraceStart) -> Horizon:
        tests = tuple(UnderWay(smart_contract_id=name, status=status) for name, status in self.under_way.items())
        return Horizon(until=len(self._ledger.entries), tests=tests)

    async def search(self, search: Search, _goes_on: int, reached: Callable[[int], None]) -> Searched:
        reached(search.until)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the database is away")
        self.searches.append(search)
        page, self.there = self.there, []
        if page:
            await self._ledger.record(_listed(search, page))
        rows = self._rows(search.trace.trace_id)
        return Searched(found=len(rows), waiting=sum(row["disposition"] is None for row in rows))

    async def select(self, trace_id: str, selection: Selection) -> Selected:
        rows = self._ledger.waiting(trace_id, selection)
        return Selected(count=len(rows), content_hash=_hash(trace_id, rows), involved=self.involved)

    def _rows(self, trace_id: str) -> list[dict[str, Any]]:
        return [row for row in self._ledger.traced if row["trace_id"] == trace_id]


def _listed(search: Search, page: list[TracedResult]) -> Record:
    trace = search.trace.trace_id
    entry = LedgerEntry(
        idempotency_key=f"trace/{trace}:found:{search.until}",
        action_type="maintenance",
        action="trace_results",
        target=trace,
        details="found",
    )
    alerts = [
        AlertRaised(
            alert=Alert(
                alert_id=f"{trace}:{search.until}:{order}",
                alert_type="results_in_doubt",
                severity=Severity.HIGH,
                source=trace,
                subject=order,
                text="decide",
                cause=in_doubt_cause(trace, order),
            )
        )
        for order in sorted({result.clientpo_id for result in page})
    ]
    return Record(entry=entry, changes=(ResultsTraced(trace_id=trace, results=tuple(page)), *alerts))


def _hash(trace_id: str, rows: list[dict[str, Any]]) -> str:
    keys = ("smart_contract_id", "revision", "test_id", "content_hash")
    return decided_content(trace_id, [tuple(row[key] for key in keys) for row in rows])


class Trace:
    """One reverse trace of a test, and what the ledger says of it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.search = MemorySearch(shop.ledger)
        self.start = TraceStart.of(self.calibration(), date(2026, 1, 10), FOUND_AT)
        self.id = self.start.trace_id
        self.handle: WorkflowHandle[Any, Any] = shop.client.get_workflow_handle(names.reverse_trace_id(self.id))

    @property
    def activities(self) -> tuple[Callable[..., Any], ...]:
        does = ReverseTraceActivities(self.search, self.search, self.search)  # type: ignore[arg-type]
        return does.look, does.search, does.select

    def calibration(self, certificate: str = "CAL-BAD") -> CalibrationRecord:
        return CalibrationRecord(
            equipment_id=f"MIC-{self.shop.name}",
            certificate_number=certificate,
            calibrated_on=date(2026, 7, 1),
            result=CalibrationResult.FAILED,
            provider="Lab",
            technician="tom",
        )

    def put(self, *contracts: str, order: str = "CPO-1", tests: tuple[str, ...] = ("T-1",)) -> None:
        """Results that the next search finds."""
        self.search.there += [
            TracedResult(
                smart_contract_id=contract,
                revision=1,
                test_id=test_id,
                clientpo_id=order,
                node_id=self.shop.node,
                verdict="accept",
                content_hash="ab" * 32,
                submitted_at=FOUND_AT,
            )
            for contract in contracts
            for test_id in tests
        ]

    async def open(self) -> None:
        self.shop.workflow_ids.add(self.handle.id)
        await self.shop.client.start_workflow(
            ReverseTraceWorkflow.run, self.start, id=self.handle.id, task_queue=names.MAIN_QUEUE
        )

    # --- what people do

    async def token(
        self,
        disposition: str = TraceDisposition.USE_AS_IS,
        *,
        by: str = "quinn",
        role: Role = Role.QUALITY_MANAGER,
        **selection: Any,
    ) -> str:
        rows = self.shop.ledger.waiting(self.id, Selection(**selection))
        return await self.shop.token(disposition_wanted(self.id, _hash(self.id, rows)), disposition, by=by, role=role)

    async def dispose(self, disposition: str = TraceDisposition.USE_AS_IS, **selection: Any) -> None:
        """By signal, as from the Temporal Web UI."""
        token = await self.token(disposition, **selection)
        await self.handle.signal(names.DISPOSE, {"token": token, "reason": "looked at it", **selection})

    # --- what is known

    async def ended(self) -> int:
        """How many results it found; once all are decided, it searches for the last time after a day."""
        await until(lambda: not self.shop.ledger.waiting(self.id, Selection()), lambda: str(self.dispositions))
        with self.shop.environment.auto_time_skipping_disabled():
            while (await self.handle.describe()).status is WorkflowExecutionStatus.RUNNING:
                await self.shop.pass_time(SEARCH_AGAIN + timedelta(minutes=1))
            return int(await self.handle.result())

    @property
    def dispositions(self) -> dict[tuple[str, str], str | None]:
        """By contract and test."""
        rows = self.shop.ledger.traced
        return {(row["smart_contract_id"], row["test_id"]): row["disposition"] for row in rows}

    def entries(self, action: str) -> list[LedgerEntry]:
        ledger = self.shop.ledger
        return [entry for entry in ledger.entries.values() if (entry.action, entry.target) == (action, self.id)]

    async def recorded(self, action: str, count: int = 1) -> LedgerEntry:
        await until(
            lambda: len(self.entries(action)) >= count,
            lambda: f"{count} of {action}: {list(self.shop.ledger.entries)}",
        )
        return self.entries(action)[count - 1]

    def open_alerts(self, alert_type: str) -> list[Alert]:
        return [alert for alert in self.shop.ledger.open.values() if alert.alert_type == alert_type]
