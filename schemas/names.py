"""Every name that crosses a process: workflow IDs, task queues, signals and updates, topics, search attributes.

A workflow's ID is its business key. Signals and updates of one name carry the same payload: the update answers,
the signal is for the Temporal Web UI and CLI.
"""

MAIN_QUEUE = "smartfloor"


def node_queue(node_id: str) -> str:
    """The task queue that one node serves."""
    return f"node-{node_id}"


def client_po_id(smart_contract_id: str) -> str:
    """Workflow ID of a `ClientPOWorkflow`."""
    return f"client-po/{smart_contract_id}"


def test_execution_id(smart_contract_id: str) -> str:
    """Workflow ID of a `TestExecutionWorkflow`."""
    return f"test/{smart_contract_id}"


def part_arrival_id(part_id: str | None, part_number: str | None) -> str:
    """Workflow ID of the `PartArrivalWorkflow`: under the `part_id` if there is one, else the `part_number`."""
    return f"part/{part_id}" if part_id else f"part-number/{part_number}"


def approval_workflow_id(approval_id: str) -> str:
    """Workflow ID of an `ApprovalWorkflow`."""
    return f"approval/{approval_id}"


def transfer_id(package_id: str) -> str:
    """Workflow ID of a `TransferWorkflow`."""
    return f"transfer/{package_id}"


def maintenance_id(contract_id: str, version: str) -> str:
    """Workflow ID of a `MaintenanceContractWorkflow`: one for each version."""
    return f"maintenance/{contract_id}/{version}"


def contract_on_node_id(contract_id: str, version: str, node_id: str, *, retire: bool) -> str:
    """Workflow ID of a `ContractOnNodeWorkflow`: a version comes into force on a node, or ends there."""
    return f"{maintenance_id(contract_id, version)}/{node_id}" + ("/end" if retire else "")


def maintenance_pattern_id(contract_id: str, issue_type: str) -> str:
    """Workflow ID of a `MaintenancePatternWorkflow`."""
    return f"maintenance-pattern/{contract_id}/{issue_type}"


def equipment_workflow_id(equipment_id: str) -> str:
    """Workflow ID of an `EquipmentWorkflow`."""
    return f"equipment/{equipment_id}"


def node_sync_id(node_id: str) -> str:
    """Workflow ID of a `NodeSyncWorkflow`."""
    return f"node/{node_id}"


def node_watch_id(node_id: str) -> str:
    """ID of the Temporal Schedule of a node's daily watch."""
    return f"watch/{node_id}"


def reverse_trace_id(trace_id: str) -> str:
    """Workflow ID of a `ReverseTraceWorkflow`."""
    return f"trace/{trace_id}"


def staging_id(smart_contract_id: str) -> str:
    """What the Business Hub knows a staged PO by."""
    return f"STAGE-{smart_contract_id}"


RECONCILE_ID = "reconcile"

# Signals and updates of ClientPOWorkflow
HOLD = "hold"
RESUME = "resume"
CANCEL = "cancel"
RETRY = "retry"
AMEND = "amend"
ACCEPT_QUANTITY = "accept_quantity"
# Signals from a PartArrivalWorkflow to a ClientPOWorkflow
PARTS_CONFIRMED = "parts_confirmed"
PARTS_REVOKED = "parts_revoked"
PARTS_COUNTED = "parts_counted"
PARTS_DAMAGED = "parts_damaged"
# Signal from the Floor Hub to the ClientPOWorkflow of a chained contract
PART_READY = "part_ready"

# Signals and updates of TestExecutionWorkflow; HOLD and RESUME too
START = "start"
SUBMIT_RESULTS = "submit_results"
SIGN_OFF = "sign_off"
ABORT = "abort"
# Signal from a TransferWorkflow to its TestExecutionWorkflow
DISPOSED = "disposed"

# Signals and updates of TransferWorkflow
RETRY_TRANSFER = "retry_transfer"
DISPOSE = "dispose"

# Signal to a TestExecutionWorkflow that is blocked: its gate may answer otherwise now
EQUIPMENT_CHANGED = "equipment_changed"

# Signals and updates of MaintenanceContractWorkflow
REVISE = "revise"
VALIDATE = "validate"
DEPLOY = "deploy"
RETIRE = "retire"
# Signal to the versions that a node has said something of, and to the order of one that its node must not take any more
DEPLOYMENTS_CHANGED = "deployments_changed"

# Signal of the gateway to MaintenancePatternWorkflow
ALERT_RECEIVED = "alert_received"

# Signals and updates of EquipmentWorkflow
REGISTER = "register"
RECORD_CALIBRATION = "record_calibration"
SCHEDULE_CALIBRATION = "schedule_calibration"
TAKE_OUT_OF_SERVICE = "take_out_of_service"
RETURN_TO_SERVICE = "return_to_service"
CHECK_OUT = "check_out"

# Signals to NodeSyncWorkflow: something changed at the hub, something happened at the node
REFRESH = "refresh"
REPORTED = "reported"

# Signals to PartArrivalWorkflow
ARRIVE = "arrive"
JOIN = "join"
LEAVE = "leave"
SETTLE = "settle"
REORDER = "reorder"
ACCEPT = "accept"
WITHDRAW = "withdraw"  # also an update
# Query of PartArrivalWorkflow
HELD = "held"

# Signals and updates of ApprovalWorkflow; it is cancelled by CANCEL
RESPOND = "respond"
NOTE = "note"
# Signal from an ApprovalWorkflow to the workflow that asked
APPROVAL_ENDED = "approval_ended"

# Search attributes
SMART_STATUS = "SmartStatus"
SMART_PART = "SmartPart"
SMART_NODE = "SmartNode"
SMART_ORDER = "SmartOrder"
SMART_DUE = "SmartDue"

# MQTT topics
PART_ARRIVAL_TOPIC = "smart/infobroadcast/part_arrival"
DEADLETTER_TOPIC = "smart/deadletter"
ALERT_TOPIC = "smart/alertbroadcast"
ALERT_INFO_TOPIC = "smart/infobroadcast/alert"  # _acknowledged, _resolved
ALERT_REPEATED_TOPIC = f"{ALERT_INFO_TOPIC}_repeated"
