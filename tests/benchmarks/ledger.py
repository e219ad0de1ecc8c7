"""How fast the ledger is, as a ratio to the same rows going into a bare table in the same batches.

The floor is a table with the columns and indexes of the ledger and nothing else: no lock, no hash, no look at earlier
keys, no callers that wait; its rows go in by plain inserts (`executemany`), and for comparison by COPY, which is what
the ledger itself uses. Ledger and floors take turns, and the medians of the runs are compared.
"""

import asyncio
import gc
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import create_engine
from infra.ledger import Ledger
from infra.settings import Settings
from infra.tables.ledger import ledger_entries
from infra.verify import verify_ledger
from infra.verify_export import Chain
from schemas.ledger import LedgerEntry
from schemas.record import Record

ROUNDS = 7
RECORDS = {1: 300, 64: 6_400, 512: 20_480}
"""Records of one run, by the number of callers."""


@dataclass(frozen=True)
class Measurement:
    """The median of the runs; the floors in the same unit, where there are any to compare with."""

    what: str
    per_second: float
    floor: float | None = None
    copied: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.per_second / self.floor if self.floor else None


async def run(settings: Settings) -> list[Measurement]:
    """Measures on the migrated database of `settings`, which must be one to throw away, and prints a table."""
    owner, engine = create_engine(settings.database_url), create_engine(settings.database_writer_url)
    try:
        measurements = [*await _appending(owner, engine), *await _verifying(engine, settings)]
    finally:
        await engine.dispose()
        await owner.dispose()
    table = Table("", "entries/s", "plain inserts", "ratio", "bare COPY", title="Ledger (aim: 0.5 with 512 callers)")
    for one in measurements:
        floor, ratio, copied = (
            (f"{one.floor:,.0f}", f"{one.ratio:.2f}", f"{one.copied:,.0f}")
            if one.floor and one.ratio and one.copied
            else ("", "", "")
        )
        table.add_row(one.what, f"{one.per_second:,.0f}", floor, ratio, copied)
    Console().print(table)
    return measurements


async def _appending(owner: AsyncEngine, engine: AsyncEngine) -> list[Measurement]:
    async with owner.begin() as connection:
        await connection.execute(text("CREATE TABLE floor (LIKE ledger_entries INCLUDING ALL)"))
    ledger_runs: dict[int, list[float]] = {callers: [] for callers in RECORDS}
    floor_runs: dict[int, list[float]] = {callers: [] for callers in RECORDS}
    copy_runs: dict[int, list[float]] = {callers: [] for callers in RECORDS}
    async with Ledger(engine, recorder="benchmark", smart_id="FLOOR-HUB-01") as ledger:
        for number in range(ROUNDS):
            for callers, size in RECORDS.items():
                first = await _size(owner)
                ledger_runs[callers].append(size / await _append(ledger, callers, _records(number, callers, size)))
                batches = await _batches(owner, first)
                for runs, how in ((floor_runs, _insert), (copy_runs, _copy)):
                    runs[callers].append(size / await _write(owner, batches, how))
                    async with owner.begin() as connection:
                        await connection.execute(text("TRUNCATE floor"))
    return [
        Measurement(
            f"acknowledged appends, {callers} callers",
            statistics.median(ledger_runs[callers]),
            statistics.median(floor_runs[callers]),
            statistics.median(copy_runs[callers]),
        )
        for callers in RECORDS
    ]


def _records(number: int, callers: int, size: int) -> list[Record]:
    return [
        Record(
            entry=LedgerEntry(
                idempotency_key=f"SC-{number}-{callers}-{place}:release",
                action_type="client_po",
                action="release",
                target=f"SC-{place}",
                details="SmartClientPO released to its node after the part arrived",
                metadata={"node": "NODE-1", "receipt_hash": "ab" * 32},
            )
        )
        for place in range(size)
    ]


async def _append(ledger: Ledger, callers: int, records: list[Record]) -> float:
    """Seconds until the last of so many callers, each with one record at a time, has its last receipt."""
    waiting = iter(records)
    gc.freeze()  # the records of all callers, which lie ready here, are no part of a process's garbage

    async def call() -> None:
        for record in waiting:
            await ledger.record(record)

    start = perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return perf_counter() - start


async def _size(owner: AsyncEngine) -> int:
    async with owner.connect() as connection:
        size: int = (await connection.execute(text("SELECT count(*) FROM ledger_entries"))).scalar_one()
        return size


async def _batches(owner: AsyncEngine, first: int) -> list[Sequence[tuple[Any, ...]]]:
    """The rows of the last run, as the ledger grouped them: one batch has one time."""
    async with owner.connect() as connection:
        query = ledger_entries.select().where(ledger_entries.c.seq >= first).order_by(ledger_entries.c.seq)
        rows = iter([tuple(row) for row in await connection.execute(query)])
        sizes = text("SELECT count(*) FROM ledger_entries WHERE seq >= :first GROUP BY recorded_at ORDER BY min(seq)")
        return [list(islice(rows, size)) for (size,) in await connection.execute(sizes, {"first": first})]


Rows = Sequence[tuple[Any, ...]]


async def _write(owner: AsyncEngine, batches: list[Rows], how: Callable[[Any, Rows], Awaitable[None]]) -> float:
    """Seconds for the bare rows, one transaction a batch."""
    start = perf_counter()
    for rows in batches:
        async with owner.begin() as connection:
            await connection.execute(text("SELECT 1"))  # begins the transaction in the driver
            await how((await connection.get_raw_connection()).driver_connection, rows)
    return perf_counter() - start


async def _insert(driver: Any, rows: Rows) -> None:
    places = ", ".join(f"${place + 1}" for place in range(len(ledger_entries.columns)))
    await driver.executemany(f"INSERT INTO floor VALUES ({places})", rows)


async def _copy(driver: Any, rows: Rows) -> None:
    await driver.copy_records_to_table("floor", columns=ledger_entries.columns.keys(), records=rows)


async def _verifying(engine: AsyncEngine, settings: Settings) -> list[Measurement]:
    async with engine.connect() as connection:
        columns = ledger_entries.c
        query = ledger_entries.select().with_only_columns(columns.seq, columns.entry, columns.leaf)
        entries = list(await connection.execute(query.order_by(columns.seq)))
    live, chained = [], []
    for _ in range(ROUNDS):
        start = perf_counter()
        await verify_ledger(engine, settings)
        live.append(len(entries) / (perf_counter() - start))
        start = perf_counter()
        chain = Chain()
        for entry in entries:
            chain.append(*entry)
        chained.append(len(entries) / (perf_counter() - start))
    return [
        Measurement("verified in the database", statistics.median(live)),
        Measurement("verified in memory, one core", statistics.median(chained)),
    ]
