"""The gate of a node with 10,000 instruments, beside the least that it could do: one indexed SELECT on the same file.

Floor and product take turns. The product decides on tests of one, three and ten instruments, each under a contract with
a check of the day; it reads all of that from the file at every decision.
"""

import random
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from infra.equipment import MaintenanceGate
from infra.node_maintenance import NodeMaintenance
from schemas.gate import BeginTest
from schemas.maintenance_check import CheckWork, GivenReading
from schemas.node import NodeDelivery
from schemas.node_report import RegisteredItem, RegisterPage
from tests.instruments import NODE, calibrated, daily, delivered, disk, in_force, item

INSTRUMENTS = 10_000
PAGE = 500
CONTRACTS = 20
DECISIONS = 2_000
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
USED = [f"LAMP-{number:05}" for number in range(0, INSTRUMENTS, INSTRUMENTS // 200)]
"""Those that are checked today, and used in tests."""


def equipped(folder: Path) -> NodeMaintenance:
    """A node with its whole register, and what was checked today."""
    node = NodeMaintenance(NODE, disk(folder), lambda: NOW)
    for number in range(CONTRACTS):
        name, kind = f"LP-lamp-{number}", f"uv_lamp_{number}"
        node.take_contract(delivered(in_force(smart_contract_id=name, equipment_types=[kind], **daily())))
    for since in range(0, INSTRUMENTS, PAGE):
        lines = tuple(line(number) for number in range(since + 1, since + PAGE + 1))
        node.take_register(RegisterPage(since=since, revision=since + PAGE, items=lines))
    readings = {"intensity": GivenReading(value="1250", unit="uW/cm2")}
    for name in USED:
        node.check(name, "daily", CheckWork(person="ines", readings=readings, confirmed={"filter"}))
    return node


def line(revision: int) -> RegisteredItem:
    number = revision - 1
    name = f"LAMP-{number:05}"
    record = calibrated(NOW.date() - timedelta(days=30), name, f"C-{number}")
    kind = f"uv_lamp_{number % CONTRACTS}"
    return RegisteredItem(revision=revision, item=item(name, equipment_type=kind), last_calibration=record)


def delivery(names: list[str]) -> NodeDelivery:
    test = {
        "test_id": "T-1",
        "test_type": "liquid_penetrant",
        "assigned_node": "NODE-1",
        "procedure": {"procedure_id": "E1417", "revision": "2021"},
        "required_signoffs": ["inspector"],
        "equipment": names,
    }
    document = {
        "smart_contract_id": "SC-1",
        "contract_type": "nondestructive_testing",
        "clientpo_id": "CPO-1",
        "client": "ACME",
        "part_id": "PART-1",
        "tests": [test],
        "routing_trigger": {"type": "workflow_complete"},
    }
    return NodeDelivery(
        smart_contract_id="SC-1",
        number=1,
        document=document,
        document_hash="00",
        priority=1,
        due_date=None,
        quantity=1,
        broadcast_ids=(),
    )


def decide(gate: MaintenanceGate, names: list[str]) -> float:
    """Seconds of one decision, which must let the test begin."""
    asked = delivery(names)
    begin = BeginTest(smart_contract_id="SC-1", performer="ivan", instruments=tuple(names), at=NOW)
    started = time.perf_counter()
    answer = gate.begin(asked, begin)
    elapsed = time.perf_counter() - started
    assert answer.begun is not None, answer.missing
    return elapsed


def look(database: sqlite3.Connection, name: str) -> float:
    """The floor, in a file that is open."""
    started = time.perf_counter()
    found = database.execute("SELECT line FROM register WHERE equipment_id = ?", (name,)).fetchone()
    elapsed = time.perf_counter() - started
    assert found is not None
    return elapsed


def run(console: Console) -> None:
    """Prints p50 and p99 in milliseconds."""
    chance = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="smartfloor-gate-") as folder:
        gate = MaintenanceGate(equipped(Path(folder)))
        floor: list[float] = []
        product: dict[int, list[float]] = {1: [], 3: [], 10: []}
        with closing(sqlite3.connect(disk(Path(folder)), isolation_level=None)) as database:
            for _ in track(range(DECISIONS), "gate", console=console, transient=True):
                floor.append(look(database, chance.choice(USED)))
                for count, times in product.items():
                    times.append(decide(gate, chance.sample(USED, count)))
    table = Table("gate decision, 10,000 instruments", "p50 ms", "p99 ms", "of the floor's p50")
    table.add_row("floor: one indexed SELECT", *_row(floor), "1")
    for count, times in product.items():
        ratio = statistics.median(times) / statistics.median(floor)
        table.add_row(f"gate, instruments of the test: {count}", *_row(times), f"{ratio:.0f}")
    console.print(table)


def _row(times: list[float]) -> tuple[str, str]:
    return f"{statistics.median(times) * 1000:.3f}", f"{statistics.quantiles(times, n=100)[98] * 1000:.3f}"


if __name__ == "__main__":
    run(Console())
