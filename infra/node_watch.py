"""What a node remembers of its daily watch, on its own disk: the last day, and the last reminder of each instrument."""

import sqlite3
from datetime import date

from schemas.equipment import Standing
from schemas.expiry import ExpiryReport, due_step

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS watch (
        id     INTEGER PRIMARY KEY CHECK (id = 1),
        day    TEXT NOT NULL,
        report TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS reminders (
        equipment_id       TEXT PRIMARY KEY,
        certificate_number TEXT NOT NULL,
        step               INTEGER NOT NULL
    ) STRICT
    """,
)


def watched(database: sqlite3.Connection, day: date) -> ExpiryReport | None:
    """What the watch of that day, or of a later one, found; None where it is still to be done."""
    row = database.execute("SELECT report FROM watch WHERE day >= ?", (day.isoformat(),)).fetchone()
    return ExpiryReport.model_validate_json(row[0]) if row else None


def keep_watch(database: sqlite3.Connection, day: date, report: ExpiryReport) -> None:
    """It is done for that day."""
    database.execute("INSERT OR REPLACE INTO watch VALUES (1, ?, ?)", (day.isoformat(), report.model_dump_json()))


def next_reminder(database: sqlite3.Connection, where: Standing) -> int | None:
    """The step that people must be reminded of; None where they were, for the same certificate, or need not be."""
    step = due_step(where)
    given = database.execute(
        "SELECT step FROM reminders WHERE equipment_id = ? AND certificate_number = ?",
        (where.equipment_id, where.certificate_number or ""),
    ).fetchone()
    return None if step is None or (given and given[0] <= step) else step


def remember_reminder(database: sqlite3.Connection, where: Standing, step: int) -> None:
    """They were told."""
    database.execute(
        "INSERT OR REPLACE INTO reminders VALUES (?, ?, ?)", (where.equipment_id, where.certificate_number or "", step)
    )
