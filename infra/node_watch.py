"""The daily watch of a node, and what it remembers on its own disk: the last day, the last reminder of each."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime

from infra import node_rows as rows
from infra.node_disk import NodeDisk
from infra.node_outbox import Outbox
from infra.node_rows import Known
from schemas.equipment import Standing
from schemas.expiry import ExpiryReport, due_step, expiry_alert, expiry_causes, expiry_report, late_cause
from schemas.node import Node
from schemas.node_report import ReportedAlert

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
        due_on             TEXT NOT NULL,
        step               INTEGER NOT NULL
    ) STRICT
    """,
)


class ExpiryWatch:
    """Looks at all instruments that are at the node."""

    def __init__(
        self,
        node: Node,
        disk: NodeDisk,
        outbox: Outbox,
        alert: Callable[[sqlite3.Connection, datetime, str, ReportedAlert, tuple[str, ...]], None],
    ) -> None:
        self._node = node
        self._disk = disk
        self._outbox = outbox
        self._alert = alert

    def look(self, here: Mapping[str, Known], at: datetime) -> ExpiryReport:
        """Reports and reminds in one transaction, once for a day of the node; again, it answers what it found."""
        found = {name: known.standing(self._node, at) for name, known in here.items()}
        report = expiry_report(self._node.node_id, ((here[name].item, where) for name, where in found.items()), at)
        with self._disk.writing() as database:
            if done := _watched(database, self._node.day(at)):
                return done
            database.execute(
                "INSERT OR REPLACE INTO watch VALUES (1, ?, ?)",
                (self._node.day(at).isoformat(), report.model_dump_json()),
            )
            urgent = [name for name, where in found.items() if due_step(where) is not None]
            due = list(self._due(database, urgent, at))
            over = [name for name in _reminded(database) if name in found and due_step(found[name]) is None]
            database.executemany("DELETE FROM reminders WHERE equipment_id = ?", [(name,) for name in over])
            self._outbox.append(
                database,
                happened_at=at,
                action="check_expiry",
                target=self._node.node_id,
                details=report.summary,
                user_id="system",
                metadata=report.model_dump(mode="json"),
                resolved=(
                    late_cause(self._node.node_id),
                    *(cause for name in over for cause in expiry_causes(name)),
                ),
            )
            for known, where, step in due:
                database.execute(
                    "INSERT OR REPLACE INTO reminders VALUES (?, ?, ?, ?)",
                    (where.equipment_id, where.certificate_number or "", str(where.due_on), step),
                )
                alert = expiry_alert(self._node, known.item, where, step, known.contracts)
                self._alert(database, at, "system", alert, expiry_causes(where.equipment_id))
        return report

    def _due(
        self, database: sqlite3.Connection, names: list[str], at: datetime
    ) -> Iterator[tuple[Known, Standing, int]]:
        """Steps that people were not reminded of; looked at again, for what was calibrated meanwhile needs none."""
        for name in names:
            if known := rows.known(database, name):
                where = known.standing(self._node, at)
                step, given = due_step(where), _given(database, where)
                if step is not None and (given is None or step < given):
                    yield known, where, step


def _watched(database: sqlite3.Connection, day: date) -> ExpiryReport | None:
    """What the watch of that day, or of a later one, found; None where it is still to be done."""
    row = database.execute("SELECT report FROM watch WHERE day >= ?", (day.isoformat(),)).fetchone()
    return ExpiryReport.model_validate_json(row[0]) if row else None


def _given(database: sqlite3.Connection, where: Standing) -> int | None:
    """The last step towards this due date of this certificate that people were reminded of."""
    row = database.execute(
        "SELECT step FROM reminders WHERE equipment_id = ? AND certificate_number = ? AND due_on = ?",
        (where.equipment_id, where.certificate_number or "", str(where.due_on)),
    ).fetchone()
    return row[0] if row else None


def _reminded(database: sqlite3.Connection) -> list[str]:
    """Instruments that people were reminded of."""
    return [name for (name,) in database.execute("SELECT equipment_id FROM reminders")]
