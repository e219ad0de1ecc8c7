"""The equipment register over a ledger in memory, and a node that reports to it from a real disk."""

from collections.abc import AsyncIterator, Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.maintenance_node import MaintenanceNodeActivities
from infra.node_maintenance import NodeMaintenance
from schemas import names
from schemas.changes.alert import NewestCalibration
from schemas.changes.equipment import CalibrationRecorded, EquipmentChanged, EquipmentEvent, EquipmentRegistered
from schemas.equipment import CalibrationRecord, EquipmentItem, standing
from schemas.equipment_register import CalibrationAsked, CalibrationFound, LineAsked, LineFound
from schemas.maintenance_orders import DeployedContract, HeldContracts
from schemas.node import Node
from schemas.node_report import RegisteredItem, RegisterPage, as_newest
from schemas.record import Change

ELSEWHERE = "NODE-ELSEWHERE"
"""A node of the registry beside those of the test."""


class MemoryRegister:
    """Keeps what the ledger's records say of equipment, as `infra.equipment_register` reads it from rows."""

    def __init__(self, tests: dict[str, dict[str, Any]], entries: Container[str | None]) -> None:
        self._tests = tests
        self._entries = entries
        self._revision = 0
        self.lines: dict[str, EquipmentItem] = {}
        self.revisions: dict[str, int] = {}
        self.at_node_since: dict[str, int] = {}
        self.calibrations: dict[tuple[str, str], CalibrationRecord] = {}
        self.events: list[EquipmentEvent] = []
        self.zones: dict[str, str] = {}
        self.measuring: tuple[str, ...] = ()
        self.in_force: tuple[DeployedContract, ...] = ()
        self.unknown_nodes = {"NODE-UNKNOWN"}

    def change(self, change: Change) -> None:
        """As `infra.rows` does."""
        self._revision += 1
        match change:
            case EquipmentRegistered():
                self.at_node_since.setdefault(change.equipment_id, self._revision)
                self.lines.setdefault(
                    change.equipment_id, EquipmentItem.model_validate(change.model_dump(exclude={"kind"}))
                )
            case EquipmentChanged():
                line = self.lines[change.equipment_id].model_dump()
                line |= change.model_dump(exclude={"kind", "equipment_id"})
                if change.begins_anew:
                    self.at_node_since[change.equipment_id] = self._revision
                self.lines[change.equipment_id] = EquipmentItem.model_validate(line)
            case CalibrationRecorded():
                key = (change.equipment_id, change.certificate_number)
                if key in self.calibrations:
                    return
                self.calibrations[key] = CalibrationRecord.model_validate_json(change.calibration)
            case EquipmentEvent():
                self.events.append(change)
                return
            case _:
                return
        self.revisions[change.equipment_id] = self._revision

    def register(self, name: str, node_id: str, **fields: Any) -> EquipmentItem:
        """A line that was there before."""
        about = {"equipment_type": "thermometer", "description": "Digital thermometer", "warning_days": 30}
        line = {"equipment_id": name, "node_id": node_id, "home_node": node_id, "work_center": None}
        self.change(EquipmentRegistered(**{**line, **about, "calibration_interval_days": 180, **fields}))
        return self.lines[name]

    def goes_out_of_service(self, name: str, at: NodeMaintenance) -> None:
        """A line that was there before, by a change that this node has not heard of."""
        self.register(name, at.node.node_id)
        while self.revisions[name] <= at.register_revision():
            self.change(EquipmentChanged(equipment_id=name, out_of_service="dropped"))

    def _of(self, name: str, corrected: str | None = None) -> list[CalibrationRecord]:
        """What counts, the newest last."""
        own = [one for (owner, _), one in self.calibrations.items() if owner == name]
        wrong = {corrected, *(one.corrects for one in own)}
        return sorted((one for one in own if one.certificate_number not in wrong), key=lambda one: one.calibrated_on)

    def is_newest(self, calibration: NewestCalibration) -> bool:
        newest = next(reversed(self._of(calibration.equipment_id)), None)
        return newest is not None and as_newest(newest) == calibration

    async def line(self, asked: LineAsked) -> LineFound:
        item = self.lines.get(asked.equipment_id)
        at = item.node_id if item else "HUB"
        node = Node(node_id=at, station_type="LP", name=at, time_zone=self.zones.get(at, "UTC"))
        number = asked.calibration.certificate_number if asked.calibration else ""
        corrects = asked.calibration.corrects if asked.calibration else None
        return LineFound(
            item=item,
            day=node.day(asked.at),
            last=next(reversed(self._of(asked.equipment_id, corrects)), None),
            recorded=self.calibrations.get((asked.equipment_id, number)),
            counts=item is not None and standing(item, asked.calibration, (), {}, node, asked.at).calibration_valid,
            corrects_known=corrects is None or (asked.equipment_id, corrects) in self.calibrations,
            interval_days=item.calibration_interval_days if item else None,
            used_by=self.measuring,
            node_known=asked.node_id not in self.unknown_nodes,
            done=asked.entry in self._entries,
            station_type=node.station_type,
        )

    async def calibration(self, asked: CalibrationAsked) -> CalibrationFound:
        found = self.calibrations.get((asked.equipment_id, asked.certificate_number))
        line = self.lines.get(asked.equipment_id)
        good = [
            one.calibrated_on
            for one in self._of(asked.equipment_id)
            if found and one.calibrated_on < found.calibrated_on and one.result == "passed"
        ]
        return CalibrationFound(
            recorded=found, good_since=max(good, default=None), node_id=line.node_id if line else None
        )

    async def page(self, since: int) -> RegisterPage:
        changed = sorted((revision, name) for name, revision in self.revisions.items() if revision > since)[:500]
        items = tuple(
            RegisteredItem(
                revision=revision,
                at_node_since=self.at_node_since[name],
                item=self.lines[name],
                last_calibration=next(reversed(self._of(name)), None),
            )
            for revision, name in changed
            if name in self.lines
        )
        return RegisterPage(since=since, revision=changed[-1][0] if changed else since, items=items)

    async def newest_change(self, equipment_ids: Sequence[str]) -> int:
        return max((self.revisions.get(name, 0) for name in equipment_ids), default=0)

    async def lost_contracts(self, held: HeldContracts) -> tuple[DeployedContract, ...]:
        return tuple(each for each in self.in_force if each.number > held.numbers.get(each.contract_id, 0))

    async def blocked_tests(self, node_id: str) -> tuple[str, ...]:
        rows = self._tests.items()
        return tuple(name for name, row in rows if (row["node_id"], row["status"]) == (node_id, "blocked"))


def calibrated(name: str, number: str = "C-1", on: str = "2026-01-15", **fields: Any) -> CalibrationRecord:
    """A calibration of the test's, passed where nothing else is said."""
    about = {"result": "passed", "provider": "Lab GmbH", "technician": "t.lab"}
    record = {"equipment_id": name, "certificate_number": number, "calibrated_on": on}
    return CalibrationRecord.model_validate({**record, **about, **fields})


def point(as_found: str, as_left: str) -> dict[str, Any]:
    """Of a thermometer at 100 °C that may be off by 0.5."""
    return {
        "name": "100 °C",
        "unit": "Cel",
        "reference": "100",
        "tolerance": "0.5",
        "as_found": as_found,
        "as_left": as_left,
    }


class Station:
    """A node with its own disk, that comes and goes."""

    def __init__(self, client: Client, node_id: str, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self.node = Node(node_id=node_id, station_type="LP", name="The test's")
        self.now = datetime(2026, 6, 1, 8, tzinfo=UTC)
        self.maintenance = self._opened()

    def _opened(self) -> NodeMaintenance:
        return NodeMaintenance(self.node, self._folder / f"{self.node.node_id}.sqlite", lambda: self.now)

    def close(self) -> None:
        """Lets go of its disk."""
        self.maintenance.close()

    def loses_its_disk(self) -> None:
        """What it reported is not there any more, and it begins to count anew."""
        self.close()
        for file in self._folder.glob(f"{self.node.node_id}.sqlite*"):
            file.unlink()
        self.maintenance = self._opened()

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self._client.get_workflow_handle(names.node_sync_id(self.node.node_id))

    @property
    def waiting(self) -> int:
        """Reports that the hub has not confirmed."""
        return self.maintenance.waiting()[0]

    @asynccontextmanager
    async def online(self, **instead: Callable[..., Any]) -> AsyncIterator[None]:
        """Its worker; `instead` of one of its activities it does something else."""
        care = MaintenanceNodeActivities(self.maintenance)
        does: dict[str, Callable[..., Any]] = {
            "read_reports": care.read_reports,
            "confirm_reports": care.confirm_reports,
            "take_register": care.take_register,
            "take_contract": care.take_contract,
            **instead,
        }
        with ThreadPoolExecutor(1) as pool:
            async with Worker(
                self._client,
                task_queue=names.node_queue(self.node.node_id),
                activities=list(does.values()),
                activity_executor=pool,
            ):
                yield
