"""`smartfloor node` as people at a node run it: a process of its own, while every server is away."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from infra.node_maintenance import NodeMaintenance
from tests.instruments import NODE, Register, calibrated, daily, delivered, in_force, item

NOWHERE = "192.0.2.1"
"""An address that leads nowhere (RFC 5737)."""

AWAY = {
    "SMARTFLOOR_DATABASE_URL": f"postgresql://smartfloor@{NOWHERE}/smartfloor",
    "SMARTFLOOR_DATABASE_WRITER_URL": f"postgresql://smartfloor@{NOWHERE}/smartfloor",
    "SMARTFLOOR_TEMPORAL_ADDRESS": f"{NOWHERE}:7233",
    "SMARTFLOOR_MQTT_HOST": NOWHERE,
    "SMARTFLOOR_API_HOST": NOWHERE,
}
TODAY = datetime.now(UTC).date()
CHECK = ("check", "--equipment", "LAMP-1", "--type", "daily", "--person", "ines")


class Terminal:
    """At a node whose lamp must be checked each day, and whose oven has no calibration."""

    def __init__(self, folder: Path) -> None:
        nodes = folder / "nodes.yaml"
        nodes.write_text(yaml.safe_dump({"nodes": [NODE.model_dump(mode="json")]}))
        self.maintenance = NodeMaintenance(NODE, folder / "nodes" / f"{NODE.node_id}.sqlite")
        self.maintenance.take_contract(delivered(in_force(calibration_interval_days=9000, **daily(30))))
        good = calibrated(TODAY - timedelta(days=9))
        Register(self.maintenance).write((item(), good), (item("OVEN-1", equipment_type="oven"), None))
        self.maintenance.confirm(1)
        self._settings = {"SMARTFLOOR_NODES_FILE": str(nodes), "SMARTFLOOR_STATE_DIR": str(folder)}
        self._keyboard, self._stdin = pty.openpty()

    def close(self) -> None:
        self.maintenance.close()
        os.close(self._keyboard)
        os.close(self._stdin)

    def run(self, command: str, *options: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
        """With what somebody types at it, or without a terminal."""
        if typed is not None:
            os.write(self._keyboard, typed.encode())
        return subprocess.run(
            (sys.executable, "-c", "from workers.cli import app; app()", "node", command, "--node", "NODE-1", *options),
            env={**os.environ, **AWAY, **self._settings, "COLUMNS": "120"},
            stdin=subprocess.DEVNULL if typed is None else self._stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def told(self) -> list[str]:
        return [report.action for report in self.maintenance.reports().reports]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


class TestWhileEveryServerIsAway:
    def test_a_check_is_refused_or_passed_as_it_was_done(self, terminal: Terminal) -> None:
        low = terminal.run(*CHECK, "--reading", "intensity=900 uW/cm2", "--confirm", "filter")
        assert (low.returncode, "900 uW/cm2 is below 1000 uW/cm2" in low.stdout) == (1, True), low.stderr
        good = terminal.run(*CHECK, "--reading", "intensity=1250 uW/cm2", "--confirm", "filter")
        assert good.returncode == 0, good.stderr
        assert terminal.told() == ["execute_check", "generate_alert", "execute_check"]

    def test_a_calibration_makes_its_instrument_ready(self, terminal: Terminal) -> None:
        about = ("--equipment", "OVEN-1", "--certificate", "C-2", "--on", str(TODAY - timedelta(days=2)))
        due = ("--due", str(TODAY + timedelta(days=400)), "--result", "passed")
        who = ("--provider", "Lab", "--technician", "tess", "--person", "ines")
        done = terminal.run("calibrate", *about, *due, *who)
        assert (done.returncode, done.stdout) == (0, "OVEN-1 is ready\n"), done.stderr
        assert terminal.told() == ["record_calibration", "validate_calibration"]

    def test_the_status_says_what_is_not_ready(self, terminal: Terminal) -> None:
        shown = terminal.run("status")
        assert shown.returncode == 1, shown.stderr
        assert "OVEN-1 has no calibration certificate with its dates" in shown.stdout


class TestAtATerminal:
    def test_what_is_left_of_a_check_is_asked(self, terminal: Terminal) -> None:
        done = terminal.run(*CHECK, "--confirm", "filter", typed="1250 uW/cm2\n")
        assert done.returncode == 0, done.stderr
        assert "Intensity at 38 cm (value and unit)" in done.stdout
        assert "The filter is whole" not in done.stdout

    def test_what_is_wrong_is_written_down_in_the_words_of_the_person(self, terminal: Terminal) -> None:
        done = terminal.run(*CHECK, typed="1250 uW/cm2\nn\ncracked\n")
        assert done.returncode == 1, done.stderr
        assert "ines: cracked" in done.stdout

    def test_an_empty_answer_leaves_its_step_undone(self, terminal: Terminal) -> None:
        done = terminal.run(*CHECK, typed="\n\n\n")
        assert done.returncode == 1, done.stderr
        assert done.stdout.count("not_done") == 2
