"""The hub cannot reach into execution on a node: what its workflows of maintenance ask of one, as recorded."""

from typing import Any

import pytest

from activities.maintenance_node import MaintenanceNodeActivities
from tests.workflows.test_replay import HISTORIES, read, type_of

ASKED = {
    "ContractOnNodeWorkflow": {"take_contract", "retire_contract"},
    "NodeSyncWorkflow": {"read_reports", "confirm_reports", "take_register"},
    "NodeWatchWorkflow": {"check_expiry"},
    "MaintenanceContractWorkflow": set(),
    "MaintenancePatternWorkflow": set(),
    "EquipmentWorkflow": set(),
    "ReverseTraceWorkflow": set(),
}
"""What a node executes, and when, is its own: it is given contracts and the register, and asked what it found. No check
is done, no calibration recorded and no instrument judged because the hub says so."""


@pytest.mark.parametrize("workflow_type", sorted(ASKED))
def test_only_this_is_asked_of_a_node_by(workflow_type: str) -> None:
    histories = [read(file) for file in HISTORIES if type_of(file) == workflow_type]
    assert histories
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for history in histories
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    of_a_node = {asked.activity_type.name for asked in scheduled if asked.task_queue.name.startswith("node-")}
    assert of_a_node == ASKED[workflow_type]


def test_nothing_else_can_be_called_at_a_node() -> None:
    open_to_the_hub = {name for name, does in vars(MaintenanceNodeActivities).items() if _is_activity(does)}
    assert open_to_the_hub == set().union(*ASKED.values())


def _is_activity(does: Any) -> bool:
    return hasattr(does, "__temporal_activity_definition")
