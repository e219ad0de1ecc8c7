"""The reverse trace over 100,000 results, beside a floor that reads and writes as much and decides nothing.

The floor reads the same entries of the ledger by one COPY, and writes the rows of the found results by another into a
bare table. The trace finds for each result what its test had begun with, and records it in pages with the ledger
entries that say so, and an alert for each client order.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import create_engine
from infra.ledger import Ledger
from infra.recorder import open_ledger
from infra.registry import load_registry
from infra.reverse_trace import ReverseTraces
from infra.settings import Settings
from infra.tables.reverse_trace import traced_results
from infra.trace_search import Searcher
from schemas.changes.reverse_trace import TraceOpened
from schemas.ledger import LedgerEntry
from schemas.record import Record
from schemas.reverse_trace import Search, Selection, TraceStart, trace_id
from tests.packages import LP

IN_DOUBT, OTHERS = 100_000, 25_000
ORDERS = 1_000
BAD, GOOD = "MICROMETER-07", "MICROMETER-08"
BEGUN = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT_ONCE = 4_096


async def run(settings: Settings, console: Console) -> None:
    """Measures on the migrated database of `settings`, which must be one to throw away, and prints a table."""
    owner = create_engine(settings.database_url)
    try:
        async with open_ledger(settings, "benchmark") as (engine, ledger):
            await _perform(owner, ledger)
            search = await _open(engine, ledger, settings)
            floor = await _floor(owner)
            searcher = Searcher(engine, ledger, load_registry(settings.nodes_file))
            began = time.perf_counter()
            searched = await searcher.search(search, 0, lambda _: None)
            traced = time.perf_counter() - began
            began = time.perf_counter()
            selected = await ReverseTraces(engine).select(search.trace.trace_id, Selection())
            decided = time.perf_counter() - began
            if searched.found != IN_DOUBT or selected.count != IN_DOUBT:
                raise RuntimeError(f"{searched.found} results were found, and {selected.count} selected")
    finally:
        await owner.dispose()
    title = f"Reverse trace: {IN_DOUBT:,} results in doubt among {IN_DOUBT + OTHERS:,}, of {ORDERS:,} client orders"
    table = Table("", "s", "results/s", "floor s", "ratio", title=title)
    table.add_row("searched, recorded, alerted", *_figures(traced), f"{floor:.1f}", f"{traced / floor:.1f}")
    table.add_row("what a decision on all of them decides on", *_figures(decided), "", "")
    console.print(table)


def _figures(seconds: float) -> tuple[str, str]:
    return f"{seconds:.1f}", f"{IN_DOUBT / seconds:,.0f}"


def _entries() -> Iterator[LedgerEntry]:
    """Each contract begins and gives one result."""
    for number in range(IN_DOUBT + OTHERS):
        contract, at = f"BENCH-{number}", BEGUN + timedelta(seconds=number)
        used = {
            "equipment_id": BAD if number < IN_DOUBT else GOOD,
            "equipment_type": "micrometer",
            "certificate": "CAL-2026-0110",
            "calibrated_on": "2026-01-10",
            "due_on": "2027-01-10",
        }
        begun = {
            "performer": "ines",
            "started_at": at.isoformat(),
            "instruments": [used],
            "document_hash": "d" * 64,
        }
        results = {"revision": 1, "content_hashes": {"T-1": f"{number:064x}"}, "proof": "p" * 600}
        for action, metadata in (("start_test", {"begun": begun}), ("submit_results", results)):
            yield LedgerEntry(
                idempotency_key=f"test/{contract}:{action}",
                action_type="test",
                action=action,
                target=contract,
                details=action,
                smart_id=LP,
                metadata=metadata,
                occurred_at=at,
            )


async def _perform(owner: AsyncEngine, ledger: Ledger) -> None:
    """The entries through the ledger; their rows in one statement each, or the set-up would take longer than all."""
    entries = _entries()
    while batch := list(islice(entries, AT_ONCE)):
        await asyncio.gather(*(ledger.record(Record(entry=entry)) for entry in batch))
    number = "substr(target, 7)::int"
    async with owner.begin() as connection:
        await connection.execute(
            text(f"""
                INSERT INTO tests (smart_contract_id, clientpo_id, node_id, status, opened_at, updated_at)
                SELECT target, 'CPO-' || {number} % {ORDERS}, smart_id, 'authorized', recorded_at, recorded_at
                FROM ledger_entries WHERE action = 'start_test' AND target LIKE 'BENCH-%'
            """)
        )
        await connection.execute(
            text("""
                INSERT INTO test_results
                    (smart_contract_id, revision, test_id, verdict, result, content_hash, submitted_by, submitted_at)
                SELECT target, 1, 'T-1', 'accept', '{}', '', 'ines', recorded_at
                FROM ledger_entries WHERE action = 'submit_results' AND target LIKE 'BENCH-%'
            """)
        )
    async with owner.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE"))


async def _open(engine: AsyncEngine, ledger: Ledger, settings: Settings) -> Search:
    start = TraceStart(
        trace_id=trace_id(BAD, "CAL-BAD"),
        equipment_id=BAD,
        certificate_number="CAL-BAD",
        calibrated_on=date(2026, 7, 1),
        since=date(2026, 1, 10),
        found_at=datetime(2026, 7, 2, tzinfo=UTC),
    )
    entry = LedgerEntry(
        idempotency_key="bench:open_trace",
        action_type="maintenance",
        action="open_trace",
        target=start.trace_id,
        details="found bad",
    )
    opened = TraceOpened(**start.model_dump(exclude={"life", "signals"}))
    await ledger.record(Record(entry=entry, changes=(opened,)))
    horizon = await Searcher(engine, ledger, load_registry(settings.nodes_file)).look(start)
    return Search(trace=start, after=-1, until=horizon.until, known=0)


async def _floor(owner: AsyncEngine) -> float:
    """Seconds to read the entries, and to write as many rows as are found."""
    rows = [
        ("bench", f"BENCH-{number}", 1, "T-1", f"CPO-{number % ORDERS}", LP, "accept", f"{number:064x}", BEGUN)
        for number in range(IN_DOUBT)
    ]
    columns = [column.name for column in traced_results.columns if not column.nullable]
    async with owner.begin() as connection:
        await connection.execute(text("CREATE TABLE floor_traced (LIKE traced_results INCLUDING ALL)"))
    read = 0

    async def count(piece: bytes) -> None:
        nonlocal read
        read += len(piece)

    async with owner.begin() as connection:
        await connection.execute(text("SELECT 1"))  # begins the transaction in the driver
        driver = (await connection.get_raw_connection()).driver_connection
        if driver is None:
            raise RuntimeError("no connection")
        began = time.perf_counter()
        query = "SELECT entry FROM ledger_entries WHERE action IN ('start_test', 'submit_results')"
        await driver.copy_from_query(query, output=count)
        await driver.copy_records_to_table("floor_traced", columns=columns, records=rows)
    return time.perf_counter() - began
