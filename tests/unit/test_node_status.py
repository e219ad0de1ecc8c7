"""`smartfloor node status`: the calibrations of a node, from its files alone."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from workers.cli import app

NODES = [
    {"node_id": "WEST", "station_type": "LP", "name": "Cell 1", "time_zone": "Etc/GMT+12"},
    {"node_id": "EAST", "station_type": "LP", "name": "Cell 2", "time_zone": "Etc/GMT-14"},
    {"node_id": "HERE", "station_type": "LP", "name": "Cell 3"},
]


def line(name: str, days_left: int | None = 500, **fields: Any) -> dict[str, Any]:
    """An instrument that is due in about so many days: tests leave room for midnight."""
    today = datetime.now(UTC).date()
    due_on = None if days_left is None else today + timedelta(days=days_left)
    dates = {"calibrated_on": today - timedelta(days=400), "due_on": due_on}
    return {"equipment_id": name, "equipment_type": "uv_lamp", "certificate": "C-[1]", "fit": True, **dates, **fields}


class Files:
    """A node's files, and the command over them."""

    def __init__(self, folder: Path) -> None:
        self.nodes, self.equipment = folder / "nodes.yaml", folder / "equipment.yaml"
        self.nodes.write_text(yaml.safe_dump({"nodes": NODES}))

    def write(self, *lines: dict[str, Any]) -> None:
        self.equipment.write_text(yaml.safe_dump({"equipment": list(lines)}))

    def status(self, *options: str, node: str = "HERE") -> Result:
        environment = {
            "SMARTFLOOR_NODES_FILE": str(self.nodes),
            "SMARTFLOOR_EQUIPMENT_FILE": str(self.equipment),
            "COLUMNS": "80",
        }
        return CliRunner().invoke(app, ["node", "status", "--node", node, *options], env=environment)

    def asked(self, node: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.status("--json", node=node).stdout)
        return answer


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


class TestStatus:
    def test_shows_every_instrument_and_why_it_may_not_be_used(self, files: Files) -> None:
        files.write(
            line("LAMP-1"),
            line("LAMP-2", 15),
            line("LAMP-3", -15),
            line("LAMP-4", None, certificate=None, calibrated_on=None),
            line("LAMP-5", fit=False),
        )
        done = files.status()
        rows = {row.split()[0]: row.split()[1:] for row in done.stdout.splitlines() if " uv_lamp " in row}
        assert [rows[f"LAMP-{number}"][-1] for number in range(1, 6)] == [
            *("current", "expiring_soon", "expired", "pending_calibration", "current")
        ]
        assert rows["LAMP-1"][:3] == ["uv_lamp", "C-[1]", str(line("LAMP-1")["due_on"])]
        assert rows["LAMP-4"][1:4] == ["-", "-", "-"]
        assert f"LAMP-3 was due for calibration on {line('LAMP-3', -15)['due_on']}" in done.stdout
        assert "LAMP-4 has no calibration certificate with its dates" in done.stdout
        assert "LAMP-5 is not fit for use" in done.stdout

    @pytest.mark.parametrize(
        ("listed", "exit_code"),
        [
            ((line("LAMP-1"), line("LAMP-2", 15)), 0),
            ((line("LAMP-1"), line("LAMP-2", -15)), 1),
            ((line("LAMP-1"), line("LAMP-2", None)), 1),
            ((), 0),
        ],
    )
    def test_ends_with_1_when_anything_is_expired_or_pending(
        self, files: Files, listed: tuple[dict[str, Any], ...], exit_code: int
    ) -> None:
        files.write(*listed)
        assert files.status().exit_code == exit_code
        assert files.status("--json").exit_code == exit_code

    def test_answers_programs_by_the_day_of_the_node(self, files: Files) -> None:
        files.write(line("LAMP-1"))
        west, east = files.asked("WEST"), files.asked("EAST")
        assert west["day"] < east["day"]
        for answer in (west, east):
            (lamp,) = answer["equipment"]
            due_on, day = date.fromisoformat(lamp["due_on"]), date.fromisoformat(answer["day"])
            assert lamp == {
                "equipment_id": "LAMP-1",
                "equipment_type": "uv_lamp",
                "certificate": "C-[1]",
                "calibrated_on": str(line("LAMP-1")["calibrated_on"]),
                "due_on": str(line("LAMP-1")["due_on"]),
                "days_left": (due_on - day).days,
                "state": "current",
                "refusal": None,
                "fit": True,
            }

    def test_says_that_the_list_cannot_be_read(self, files: Files) -> None:
        done = files.status()
        assert done.exit_code == 2
        assert done.stderr.startswith(f"{files.equipment}: the equipment list equipment.yaml cannot be read: ")

    def test_says_that_the_registry_cannot_be_read(self, files: Files) -> None:
        files.nodes.write_text("nodes: [")
        done = files.status()
        assert done.exit_code == 2
        assert done.stderr.startswith(f"the registry of nodes {files.nodes} cannot be read: ")

    def test_says_that_the_node_is_unknown(self, files: Files) -> None:
        files.write(line("LAMP-1"))
        done = files.status(node="NOWHERE")
        assert done.exit_code == 2
        assert "node NOWHERE is not in the registry" in done.stderr
