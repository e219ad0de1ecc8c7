"""`smartfloor node`: what people do at a node with nothing but its own disk."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from infra import node_disk
from infra.node_maintenance import NodeMaintenance
from infra.registry import load_registry
from schemas.equipment import CalibrationRecord, EquipmentItem
from tests.instruments import INTENSITY, Register, calibrated, daily, delivered, in_force, item
from workers import node as commands
from workers.cli import app

NODES = [
    {"node_id": "NODE-1", "station_type": "LP", "name": "Cell 1"},
    {"node_id": "WEST", "station_type": "LP", "name": "Cell 2", "time_zone": "Etc/GMT+12"},
    {"node_id": "EAST", "station_type": "LP", "name": "Cell 3", "time_zone": "Etc/GMT-14"},
]
TODAY = datetime.now(UTC).date()
"""Tests leave room for midnight."""


def line(name: str, days_left: int | None = 500, **fields: Any) -> tuple[EquipmentItem, CalibrationRecord | None]:
    """An instrument that is due in about so many days."""
    if days_left is None:
        return item(name, **fields), None
    due_on = TODAY + timedelta(days=days_left)
    return item(name, **fields), calibrated(TODAY - timedelta(days=400), name, "C-[1]", due_on=due_on)


class AtTheNode:
    """A node's disk, and the commands over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes = folder / "nodes.yaml"
        self.nodes.write_text(yaml.safe_dump({"nodes": NODES}))
        self.maintenance, self.register = self.open("NODE-1")

    def open(self, node_id: str) -> tuple[NodeMaintenance, Register]:
        node = load_registry(self.nodes)[node_id]
        maintenance = NodeMaintenance(node, self.disk_of(node_id))
        return maintenance, Register(maintenance)

    def disk_of(self, node_id: str) -> Path:
        return self.folder / "nodes" / f"{node_id}.sqlite"

    def run(self, command: str, *options: str, node: str = "NODE-1", given: str | None = None) -> Result:
        environment = {
            "SMARTFLOOR_NODES_FILE": str(self.nodes),
            "SMARTFLOOR_STATE_DIR": str(self.folder),
            "COLUMNS": "120",
        }
        return CliRunner().invoke(app, ["node", command, "--node", node, *options], env=environment, input=given)

    def asked(self, *options: str, node: str = "NODE-1") -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run("status", "--json", *options, node=node).stdout)
        return answer

    def told(self) -> list[str]:
        return [report.action for report in self.maintenance.reports().reports]


@pytest.fixture
def node(tmp_path: Path) -> AtTheNode:
    return AtTheNode(tmp_path)


class TestStatus:
    def test_shows_every_instrument_and_why_it_may_not_be_used(self, node: AtTheNode) -> None:
        node.register.write(
            line("LAMP-1"),
            line("LAMP-2", 15),
            line("LAMP-3", -15),
            line("LAMP-4", None),
            line("LAMP-5", out_of_service="dropped"),
            line("LAMP-6", node_id="EAST"),
        )
        shown = node.run("status").stdout
        rows = {row.split()[0]: row.split()[1:] for row in shown.splitlines() if " uv_lamp " in row}
        assert [rows[f"LAMP-{number}"][-1] for number in range(1, 6)] == [
            *("ready", "ready", "expired", "pending_calibration", "out_of_service")
        ]
        assert "LAMP-6" not in rows
        assert rows["LAMP-1"][:3] == ["uv_lamp", "C-[1]", str(TODAY + timedelta(days=500))]
        assert rows["LAMP-4"][1:4] == ["-", "-", "-"]
        assert f"LAMP-3 was due for calibration on {TODAY - timedelta(days=15)}" in shown
        assert "LAMP-4 has no calibration certificate with its dates" in shown
        assert "LAMP-5 is out of service: dropped" in shown

    def test_shows_contracts_checks_that_are_due_and_reports_that_wait(self, node: AtTheNode) -> None:
        node.register.write(line("LAMP-1"))
        node.maintenance.take_contract(delivered(in_force(calibration_interval_days=9000, **daily())))
        shown = node.run("status").stdout
        assert "LAMP-1: the check daily of LP-lamp 1.0 is not done in this day: do it" in shown
        assert "in force: LP-lamp 1.0, UV lamps" in shown
        assert "1 reports wait for the hub" in shown

    @pytest.mark.parametrize(
        ("lines", "exit_code"),
        [
            ((line("LAMP-1"), line("LAMP-2", 15)), 0),
            ((line("LAMP-1"), line("LAMP-2", -15)), 1),
            ((line("LAMP-1"), line("LAMP-2", None)), 1),
            ((line("LAMP-1"), line("LAMP-2", None, out_of_service="dropped")), 0),
            ((), 0),
        ],
    )
    def test_ends_with_1_when_one_in_service_is_not_ready(
        self, node: AtTheNode, lines: tuple[Any, ...], exit_code: int
    ) -> None:
        node.register.write(*lines)
        assert node.run("status").exit_code == exit_code
        assert node.run("status", "--json").exit_code == exit_code

    def test_answers_programs_by_the_day_of_the_node(self, node: AtTheNode) -> None:
        days = {}
        for name in ("WEST", "EAST"):
            _, register = node.open(name)
            register.write(line("LAMP-1", node_id=name))
            answer = node.asked(node=name)
            (lamp,) = answer["equipment"]
            assert (lamp["equipment_id"], lamp["state"], lamp["missing"]) == ("LAMP-1", "ready", [])
            days[name] = (answer["day"], lamp["days_left"])
        assert days["WEST"][0] < days["EAST"][0]
        assert days["WEST"][1] > days["EAST"][1]

    def test_of_one_instrument_is_a_validation_that_goes_into_the_ledger(self, node: AtTheNode) -> None:
        node.register.write(line("LAMP-1"), line("LAMP-2"))
        assert [each["equipment_id"] for each in node.asked("--equipment", "LAMP-2")["equipment"]] == ["LAMP-2"]
        assert node.told() == ["validate_calibration"]
        done = node.run("status", "--equipment", "GONE")
        assert (done.exit_code, done.stderr) == (
            2,
            "GONE is not in the register of NODE-1: register it at the hub first\n",
        )

    def test_says_that_the_node_has_no_disk_here(self, node: AtTheNode) -> None:
        done = node.run("status", node="WEST")
        assert done.exit_code == 2
        assert "run it once, smartfloor worker --node WEST" in done.stderr

    def test_says_that_the_disk_cannot_be_used(self, node: AtTheNode) -> None:
        node.disk_of("EAST").write_text("no database")
        done = node.run("status", node="EAST")
        assert done.exit_code == 2
        assert "the node's disk cannot be used (file is not a database)" in done.stderr

    def test_says_that_the_registry_cannot_be_read(self, node: AtTheNode) -> None:
        node.nodes.write_text("nodes: [")
        done = node.run("status")
        assert done.exit_code == 2
        assert done.stderr.startswith(f"the registry of nodes {node.nodes} cannot be read: ")

    def test_says_that_the_node_is_unknown(self, node: AtTheNode) -> None:
        done = node.run("status", node="NOWHERE")
        assert done.exit_code == 2
        assert "node NOWHERE is not in the registry" in done.stderr


class TestCheck:
    @pytest.fixture
    def node(self, node: AtTheNode) -> AtTheNode:
        node.register.write(line("LAMP-1"))
        node.maintenance.take_contract(delivered(in_force(calibration_interval_days=9000, **daily())))
        node.maintenance.confirm(1)
        return node

    def check(self, node: AtTheNode, *options: str, given: str | None = None) -> Result:
        return node.run("check", "--equipment", "LAMP-1", "--type", "daily", "--person", "ines", *options, given=given)

    def test_makes_its_instrument_ready(self, node: AtTheNode) -> None:
        done = self.check(node, "--reading", "intensity=1250 uW/cm2", "--confirm", "filter")
        assert done.exit_code == 0, done.output
        assert "daily of LAMP-1 (LP-lamp 1.0) is passed" in done.stdout
        assert node.asked()["equipment"][0]["state"] == "ready"
        assert node.told() == ["execute_check"]

    @pytest.mark.parametrize(
        ("options", "shown"),
        [
            ((), "there is no reading"),
            (("--reading", "intensity=1250 uW/cm2"), "nobody confirmed it"),
            (("--reading", "intensity=900 uW/cm2", "--confirm", "filter"), "900 uW/cm2 is below 1000 uW/cm2"),
            (("--reading", "intensity=1250 lx", "--confirm", "filter"), "1250 lx is not in uW/cm2"),
            (("--reading", "intensity=1250 uW/cm2", "--wrong", "filter=cracked"), "ines: cracked"),
        ],
    )
    def test_that_is_not_passed_ends_with_1_and_says_why(
        self, node: AtTheNode, options: tuple[str, ...], shown: str
    ) -> None:
        done = self.check(node, *options)
        assert done.exit_code == 1
        assert shown in done.stdout
        assert node.asked()["equipment"][0]["state"] != "ready"

    @pytest.mark.parametrize(
        ("options", "shown"),
        [
            (("--reading", "intensity"), "write STEP="),
            (("--reading", "intensity=bright lx"), "is no reading"),
            (("--reading", "intensity=1250"), "is no reading"),
            (("--reading", "intensity=nan lx"), "is no reading"),
            (("--confirm", "flter"), "there is no step flter in this check"),
            (("--reading", "intensity=10 uW/cm2", "--reading", "intensity=1250 uW/cm2"), "intensity is named twice"),
            (("--wrong", "filter=cracked", "--wrong", "filter=dirty"), "filter is named twice"),
            (("--contract", "LP-other"), "no contract in force asks for daily of LAMP-1"),
        ],
    )
    def test_that_cannot_be_is_not_recorded_and_ends_with_2(
        self, node: AtTheNode, options: tuple[str, ...], shown: str
    ) -> None:
        done = self.check(node, *options)
        assert done.exit_code == 2
        assert shown in " ".join(done.stderr.replace("│", " ").split())
        assert node.told() == []

    def test_says_that_the_registry_names_no_machine(self, node: AtTheNode) -> None:
        machine = INTENSITY | {"opcua_node": "ns=2;s=UV.Intensity"}
        contract = in_force("1.1", calibration_interval_days=9000, **daily("day", machine))
        node.maintenance.take_contract(delivered(contract, 2))
        assert "the registry names no opcua_url for this node" in self.check(node).stdout

    @pytest.fixture
    def at_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(commands, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))

    @pytest.mark.usefixtures("at_a_terminal")
    def test_asks_again_for_a_reading_that_is_none(self, node: AtTheNode) -> None:
        done = self.check(node, given="1250\n1250 uW/cm2\ny\n")
        assert done.exit_code == 0, done.output
        assert "1250 is no reading: write its value and its unit" in done.output

    @pytest.mark.usefixtures("at_a_terminal")
    @pytest.mark.parametrize(("typed", "completed"), [(" 1250 uW/cm2 ", 2), ("  ", 1)])
    def test_takes_a_reading_with_blanks_around_it_and_blanks_alone_as_not_done(
        self, node: AtTheNode, typed: str, completed: int
    ) -> None:
        done = self.check(node, "--json", "--confirm", "filter", given=f"{typed}\n")
        assert done.stdout.count('"completed"') == completed, done.output

    @pytest.mark.usefixtures("at_a_terminal")
    def test_that_is_left_half_done_is_not_recorded_and_ends_with_2(self, node: AtTheNode) -> None:
        done = self.check(node, given="1250 uW/cm2\n")
        assert (done.exit_code, node.told()) == (2, [])
        assert "stopped: nothing was recorded" in done.stderr

    def test_that_finds_the_disk_locked_is_not_recorded_and_ends_with_2(
        self, node: AtTheNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node_disk, "PATIENCE", 0.1)
        with closing(sqlite3.connect(node.disk_of("NODE-1"), isolation_level=None)) as somebody:
            somebody.execute("BEGIN IMMEDIATE")
            done = self.check(node, "--reading", "intensity=1250 uW/cm2", "--confirm", "filter")
        assert (done.exit_code, node.told()) == (2, [])
        assert "database is locked" in done.stderr
        assert "nothing was recorded: do it again in a moment" in done.stderr

    def test_answers_programs(self, node: AtTheNode) -> None:
        answer = json.loads(self.check(node, "--json", "--confirm", "filter").stdout)
        assert [step["status"] for step in answer["checks_performed"]] == ["not_done", "completed"]


class TestCalibrate:
    OPTIONS = ("--equipment", "LAMP-1", "--certificate", "C-2", "--provider", "Lab", "--technician", "tess")

    @pytest.fixture
    def node(self, node: AtTheNode) -> AtTheNode:
        node.register.write(line("LAMP-1", -15))
        return node

    def calibrate(self, node: AtTheNode, *options: str, given: str | None = None) -> Result:
        return node.run("calibrate", "--person", "ines", *options, given=given)

    def test_unlocks_what_was_expired(self, node: AtTheNode) -> None:
        due = str(TODAY + timedelta(days=400))
        options = ("--on", str(TODAY - timedelta(days=2)), "--due", due, "--result", "passed")
        done = self.calibrate(node, *self.OPTIONS, *options)
        assert (done.exit_code, done.stdout) == (0, "LAMP-1 is ready\n"), done.output
        assert node.told() == ["record_calibration", "validate_calibration"]

    def test_takes_a_file_without_losing_a_digit(self, node: AtTheNode) -> None:
        file = node.folder / "certificate.yaml"
        file.write_text(
            "equipment_id: LAMP-1\ncertificate_number: 0042\ncalibrated_on: 2026-01-10\ndue_on: 2090-01-01\n"
            "result: failed\nprovider: Lab\ntechnician: tess\n"
            "points:\n- {name: UV, unit: uW/cm2, reference: 1200, tolerance: 60, as_found: 1100.50, as_left: 1100.50}\n"
        )
        assert self.calibrate(node, "--file", str(file)).exit_code == 1
        record = node.maintenance.reports().reports[0].calibration
        assert record is not None
        assert (record.certificate_number, str(record.points[0].as_found)) == ("0042", "1100.50")
        assert record.found_out_of_tolerance

    def test_takes_json_from_another_program(self, node: AtTheNode) -> None:
        record = calibrated(TODAY - timedelta(days=2), number="C-3", due_on=TODAY + timedelta(days=400))
        assert self.calibrate(node, "--file", "-", given=record.model_dump_json(exclude_none=True)).exit_code == 0

    @pytest.mark.parametrize(
        ("options", "shown"),
        [
            (("--on", str(TODAY + timedelta(days=3)), "--result", "passed"), "which is not yet"),
            (("--on", "2026-01-10", "--result", "passed", "--certificate", ""), "certificate_number"),
            (("--on", "2026-01-10", "--result", "passed", "--certificate-for", "LAMP-9"), "is for LAMP-9"),
            (("--on", "2026-01-10", "--result", "passed", "--equipment", "GONE"), "GONE is not in the register"),
            (("--on", "2026-01-10"), "result: Field required"),
            (("--on", "yesterday", "--result", "passed"), "calibrated_on"),
            (("--on", "2026-01-10", "--result", "passed", "--person", ""), "user_id"),
            (
                ("--on", "2026-01-10", "--result", "passed", "--corrects", "C-9"),
                "certificate C-9 of LAMP-1 is not known",
            ),
        ],
    )
    def test_refuses_what_cannot_be_as_the_hub_does(
        self, node: AtTheNode, options: tuple[str, ...], shown: str
    ) -> None:
        done = self.calibrate(node, *self.OPTIONS, *options)
        assert done.exit_code == 2
        assert shown in done.stderr
        assert node.told() == []
