"""A test's watched node: its real disk, its instruments, and the watches of it."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.worker import Worker

from activities.maintenance_node import MaintenanceNodeActivities
from infra.node_maintenance import NodeMaintenance
from schemas import names
from schemas.canonical import document_hash
from schemas.equipment import CalibrationRecord, CalibrationResult, EquipmentItem
from schemas.expiry import ExpiryReport
from schemas.maintenance import ContractDelivery
from schemas.node import Node
from schemas.node_report import NodeReport, RegisteredItem, RegisterPage
from schemas.node_watch import WatchStart
from tests.workflows.patterns import CONTRACT
from tests.workflows.shop import Shop
from workflows.node_watch import NodeWatchWorkflow


class Watched:
    """A node and its instruments, watched day by day."""

    def __init__(self, shop: Shop, state: Path) -> None:
        self.shop = shop
        self.now = datetime.now(UTC)
        node = Node(node_id=shop.node, station_type="LP", name="cell 1", time_zone="America/New_York")
        self.maintenance = NodeMaintenance(node, state / "maintenance.sqlite", lambda: self.now)
        self._revision = 0
        self._watches = 0

    def close(self) -> None:
        """Lets go of all disks."""
        self.shop.close()
        self.maintenance.close()

    async def today(self) -> date:
        self.now = await self.shop.now()
        return self.maintenance.node.day(self.now)

    async def contract(self, **fields: Any) -> str:
        """Put into force at the node."""
        document = {"smart_contract_id": f"LP-{self.shop.name}", **CONTRACT, **fields}
        self.now = await self.shop.now()
        self.maintenance.take_contract(
            ContractDelivery(
                contract_id=document["smart_contract_id"],
                version="1.0",
                number=1,
                document=document,
                document_hash=document_hash(document),
            )
        )
        return str(document["smart_contract_id"])

    async def instrument(self, name: str, due_in: int, **fields: Any) -> None:
        """Calibrated so that it is due so many days from now."""
        today = await self.today()
        item = EquipmentItem(
            equipment_id=name,
            equipment_type="thermometer",
            description=f"Thermometer {name}",
            node_id=self.shop.node,
            home_node=self.shop.node,
            **fields,
        )
        last = self.certificate(name, calibrated_on=today - timedelta(days=90), due_on=today + timedelta(days=due_in))
        line = RegisteredItem(revision=self._revision + 1, item=item, last_calibration=last)
        self.maintenance.take_register(RegisterPage(since=self._revision, revision=self._revision + 1, items=(line,)))
        self._revision += 1

    def certificate(self, name: str, *, calibrated_on: date, due_on: date, number: str = "C-1") -> CalibrationRecord:
        return CalibrationRecord(
            equipment_id=name,
            certificate_number=number,
            calibrated_on=calibrated_on,
            due_on=due_on,
            result=CalibrationResult.PASSED,
            provider="ACME Metrology",
            technician="tom",
        )

    async def calibrate(self, name: str, due_in: int, number: str) -> None:
        today = await self.today()
        due_on = today + timedelta(days=due_in)
        self.maintenance.record_calibration(
            self.certificate(name, calibrated_on=today, due_on=due_on, number=number), "tom"
        )

    async def start(self, **fields: int) -> WorkflowHandle[Any, ExpiryReport]:
        self._watches += 1
        handle = await self.shop.client.start_workflow(
            NodeWatchWorkflow.run,
            WatchStart(node_id=self.shop.node, **fields),
            id=f"{names.node_watch_id(self.shop.node)}-{self._watches}",
            task_queue=names.MAIN_QUEUE,
        )
        self.shop.workflow_ids.add(handle.id)
        return handle

    async def watch(self) -> ExpiryReport:
        """Without time going on: this server skips ten years when a workflow that is waited for has ended."""
        with self.shop.environment.auto_time_skipping_disabled():
            return await (await self.start()).result()

    def told(self, action: str) -> list[NodeReport]:
        """What the node has told so far; it is never confirmed here."""
        return [report for report in self.maintenance.reports().reports if report.action == action]

    def take_told(self) -> list[NodeReport]:
        """What it has told since it was last asked."""
        reports = list(self.maintenance.reports().reports)
        if reports:
            self.maintenance.confirm(reports[-1].number)
        return reports

    @asynccontextmanager
    async def online(self) -> AsyncIterator[None]:
        with ThreadPoolExecutor(1) as pool:
            async with Worker(
                self.shop.client,
                task_queue=names.node_queue(self.shop.node),
                activities=[MaintenanceNodeActivities(self.maintenance).check_expiry],
                activity_executor=pool,
            ):
                yield
