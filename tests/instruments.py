"""Instruments of a node, their calibrations, and contracts that ask something of them."""

from datetime import date
from pathlib import Path
from typing import Any

from infra.node_maintenance import NodeMaintenance
from schemas.canonical import document_hash
from schemas.equipment import CalibrationRecord, CalibrationResult, ContractInForce, EquipmentItem
from schemas.maintenance import ContractDelivery, MaintenanceContract
from schemas.node import Node, NodeDelivery
from schemas.node_report import RegisteredItem, RegisterPage

NODE = Node(node_id="NODE-1", station_type="LP", name="Cell 1")

INTENSITY = {"step_id": "intensity", "description": "Intensity at 38 cm", "kind": "reading", "rule": "uv"}
FILTER = {"step_id": "filter", "description": "The filter is whole", "kind": "visual"}


def item(name: str = "LAMP-1", **fields: Any) -> EquipmentItem:
    here = {"node_id": "NODE-1", "home_node": "NODE-1"}
    values = {"equipment_type": "uv_lamp", "description": "Inspection lamp", **here}
    return EquipmentItem.model_validate({"equipment_id": name, **values, **fields})


def calibrated(
    on: date = date(2026, 1, 10), name: str = "LAMP-1", number: str = "C-1", **fields: Any
) -> CalibrationRecord:
    values = {"result": CalibrationResult.PASSED, "provider": "Calibration laboratory", "technician": "tess"}
    return CalibrationRecord.model_validate(
        {"equipment_id": name, "certificate_number": number, "calibrated_on": on, **values, **fields}
    )


def document(name: str = "LP-lamp", **fields: Any) -> dict[str, Any]:
    """A contract that asks for a calibration, and for nothing to be done."""
    return {
        "smart_contract_id": name,
        "title": "UV lamps",
        "description": "What a lamp must have behind it",
        "equipment_types": ["uv_lamp"],
        "conditions": ["must-calibrate-before-test"],
        "calibration_interval_days": 365,
        **fields,
    }


def daily(every: str | int = "day", *steps: dict[str, Any]) -> dict[str, Any]:
    """Fields of a contract that asks for a check of intensity and filter too."""
    procedure = {"title": "Process check", "every": every, "steps": list(steps or (INTENSITY, FILTER))}
    rules = {"uv": {"unit": "uW/cm2", "minimum": "1000", "maximum": "5000"}}
    return {"maintenance_procedures": {"daily": procedure}, "validation_rules": rules}


def in_force(version: str = "1.0", **fields: Any) -> ContractInForce:
    return ContractInForce(version=version, contract=MaintenanceContract.model_validate(document(**fields)))


def delivered(each: ContractInForce, number: int = 1) -> ContractDelivery:
    """The same on its way to a node."""
    content = each.contract.model_dump(mode="json")
    return ContractDelivery(
        contract_id=each.contract.smart_contract_id,
        version=each.version,
        number=number,
        document=content,
        document_hash=document_hash(content),
    )


def delivery(*needed: Any, document: dict[str, Any] | None = None) -> NodeDelivery:
    """Of a contract whose tests need this equipment, one test for each."""
    tests = [
        {
            "test_id": f"T-{number}",
            "test_type": "liquid_penetrant",
            "assigned_node": "NODE-1",
            "procedure": {"procedure_id": "E1417", "revision": "2021"},
            "required_signoffs": ["inspector"],
            "equipment": [equipment] if equipment else [],
        }
        for number, equipment in enumerate(needed or [None])
    ]
    return NodeDelivery(
        smart_contract_id="SC-1",
        number=1,
        document=document
        or {
            "smart_contract_id": "SC-1",
            "contract_type": "nondestructive_testing",
            "clientpo_id": "CPO-1",
            "client": "ACME",
            "part_id": "PART-1",
            "tests": tests,
            "routing_trigger": {"type": "workflow_complete"},
        },
        document_hash="abc",
        priority=3,
        due_date=None,
        quantity=1,
        broadcast_ids=(),
    )


class Register:
    """The hub's register as a node is told of it: each line that is written has the next revision."""

    def __init__(self, maintenance: NodeMaintenance) -> None:
        self._maintenance = maintenance
        self.revision = 0
        self._places: dict[str, tuple[str, int]] = {}

    def write(self, *lines: tuple[EquipmentItem, CalibrationRecord | None]) -> int:
        """Tells the node of these lines; answers with the revision that it has then."""
        since = self.revision
        self.revision += 1
        items = tuple(
            RegisteredItem(
                revision=self.revision, at_node_since=self._at_node_since(item), item=item, last_calibration=last
            )
            for item, last in lines
        )
        return self._maintenance.take_register(RegisterPage(since=since, revision=self.revision, items=items))

    def _at_node_since(self, item: EquipmentItem) -> int:
        place, _ = self._places.get(item.equipment_id, (None, 0))
        if place != item.node_id:
            self._places[item.equipment_id] = (item.node_id, self.revision)
        return self._places[item.equipment_id][1]


def disk(folder: Path) -> Path:
    return folder / "nodes" / "node.sqlite"
