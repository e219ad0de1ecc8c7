"""What a node did by itself and the hub does not know yet, on the node's own disk."""

import sqlite3
from typing import Any

from infra.node_disk import NodeDisk
from schemas.node_report import NodeReport

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS reports (
        number INTEGER PRIMARY KEY,
        report TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS counters (
        name  TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT
    """,
)

LARGEST = 400_000
"""Bytes of reports that go into one message; one that is larger goes alone. Temporal takes 2 MB, and what a report can
hold stays below that: its texts and their number are limited where they are given."""


class Outbox:
    """Reports are numbered without gaps from 1, and stay until they are confirmed."""

    def __init__(self, disk: NodeDisk) -> None:
        self._disk = disk

    def append(self, database: sqlite3.Connection, **fields: Any) -> int:
        """Writes a report in the transaction of what it reports; answers with its number."""
        (number,) = database.execute(
            "INSERT INTO counters VALUES ('reported', 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value"
        ).fetchone()
        report = NodeReport(number=number, **fields)
        database.execute("INSERT INTO reports VALUES (?, ?)", (number, report.model_dump_json()))
        return report.number

    def oldest(self) -> tuple[NodeReport, ...]:
        """As many as go into one message."""
        taken: list[str] = []
        size = 0
        with self._disk.reading() as database:
            for (report,) in database.execute("SELECT report FROM reports ORDER BY number"):
                size += len(report.encode())
                if taken and size > LARGEST:
                    break
                taken.append(report)
        return tuple(map(NodeReport.model_validate_json, taken))

    def confirm(self, up_to: int) -> None:
        """These need not be told again."""
        with self._disk.writing() as database:
            database.execute("DELETE FROM reports WHERE number <= ?", (up_to,))
            database.execute(
                "INSERT INTO counters VALUES ('confirmed', ?) ON CONFLICT DO UPDATE SET value = max(value, ?)",
                (up_to, up_to),
            )

    def waiting(self) -> tuple[int, int]:
        """How many reports wait, and the number of the newest that was ever written."""
        with self._disk.reading() as database:
            (waiting,) = database.execute("SELECT count(*) FROM reports").fetchone()
            return waiting, counter(database, "reported")


def counter(database: sqlite3.Connection, name: str) -> int:
    """0 where nothing was counted yet."""
    row = database.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return row[0] if row else 0
