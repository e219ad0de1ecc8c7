"""The hub cannot reach into execution on a node: all that it may call there is listed here."""

import json
from pathlib import Path
from typing import Any

from activities.maintenance_node import MaintenanceNodeActivities

ANSWERS = {
    "take_contract": "what the hub deploys",
    "retire_contract": "what the hub retires",
    "take_register": "the hub's register",
    "read_reports": "what the node did by itself",
    "confirm_reports": "what the hub has recorded of it",
    "check_expiry": "reminders; the node itself counts the days",
}
"""No check is done, no calibration recorded and no instrument judged because the hub says so."""

HISTORIES = Path(__file__).parent.parent / "histories"
OF_THE_HUB = ("MaintenanceContract", "ContractOnNode", "MaintenancePattern", "NodeWatch", "NodeSync", "Equipment")


def scheduled(history: Any) -> set[str]:
    """Activities on the queues of nodes."""
    found = (event.get("activityTaskScheduledEventAttributes") for event in history["events"])
    return {one["activityType"]["name"] for one in found if one and one["taskQueue"]["name"].startswith("node-")}


class TestTheHub:
    def test_finds_nothing_else_to_call_at_a_node(self) -> None:
        open_to_it = {name for name, does in vars(MaintenanceNodeActivities).items() if _is_activity(does)}
        assert open_to_it == ANSWERS.keys()

    def test_calls_nothing_else_in_any_history(self) -> None:
        called: set[str] = set()
        for file in HISTORIES.glob("*.json"):
            if file.name.split(".")[1].startswith(OF_THE_HUB):
                called |= scheduled(json.loads(file.read_text()))
        assert {"take_contract", "retire_contract", "check_expiry"} <= called <= ANSWERS.keys()


def _is_activity(does: Any) -> bool:
    return hasattr(does, "__temporal_activity_definition")
