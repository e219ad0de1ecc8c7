"""The main job beside its floor: latency, throughput, memory, and what Temporal counts.

Product and floor have the same processes (worker, gateway, one shared node worker) on the same servers and take turns.
A broadcast is published, taken from the broker, handed to Temporal and acknowledged in both; the clock stops when
the PO's workflow has ended.
"""

import asyncio
import json
import statistics
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import aiomqtt
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from infra.embedded.shop import ProductProcess
from infra.ledger import Ledger
from infra.mqtt import publishing_client
from infra.recorder import open_ledger
from infra.settings import Settings
from infra.temporal import ClientPOStarter, connect
from schemas import names
from schemas.canonical import document_hash
from schemas.changes.client_po import ClientPOStaged
from schemas.client_po import SmartClientPO
from schemas.ledger import LedgerEntry
from schemas.node import NodeDelivery
from schemas.part_arrival import WaitingPO
from schemas.record import Record
from tests.benchmarks.floor import NODE, FloorPOWorkflow
from tests.benchmarks.floor_process import QUEUE, TOPIC

LATENCIES = 60
ROUNDS = 3
IN_FLIGHT = 500
WAITING = 2000
STAGING_AT_ONCE = 50

ACTIONS = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
    EventType.EVENT_TYPE_TIMER_STARTED,
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED,
}
"""One action each; the local activities of one workflow task are one action together."""


class FloorProcess(ProductProcess):
    """A process of the floor."""

    def command(self) -> list[Any]:
        return [super().command()[0], "-m", "tests.benchmarks.floor_process", *self.arguments]


class Side(ABC):
    """Product or floor: stages a PO for a part of its own, and announces the part."""

    title: str
    topic: str
    worker: ProductProcess
    gateway: ProductProcess

    def __init__(self, client: Client, ledger: Ledger) -> None:
        self.client = client
        self.ledger = ledger

    @abstractmethod
    async def start(self, document: dict[str, Any], staged_at: datetime) -> WorkflowHandle[Any, Any]:
        """Start the PO's workflow."""

    @abstractmethod
    def part_workflow(self, part: str) -> str:
        """The workflow that waits for the part."""

    async def stage_all(self, staged: Sequence[str]) -> list[WorkflowHandle[Any, Any]]:
        """Row, entry, workflow of each, and its place in the line."""
        slots = asyncio.Semaphore(STAGING_AT_ONCE)

        async def stage(document: dict[str, Any]) -> WorkflowHandle[Any, Any]:
            async with slots:
                receipt = await self.ledger.record(staging(document))
                return await self.start(document, receipt.recorded_at)

        documents = [_document(name) for name in staged]
        handles = await asyncio.gather(*(stage(document) for document in documents))
        for document in documents:
            part = self.client.get_workflow_handle(self.part_workflow(document["part_id"]))
            while not await _exists(part):
                await asyncio.sleep(0.02)
        return handles

    async def announce(self, mqtt: aiomqtt.Client, name: str) -> None:
        body = {
            "id": f"BC-{name}",
            "event_type": "part_arrival",
            "part_id": f"PART-{name}",
            "location": "receiving-dock",
            "timestamp": datetime.now(UTC).isoformat(),
        }
        await mqtt.publish(self.topic, json.dumps(body), qos=1)


class Product(Side):
    title = "product"
    topic = names.PART_ARRIVAL_TOPIC

    def __init__(self, client: Client, ledger: Ledger, settings: Settings) -> None:
        super().__init__(client, ledger)
        self._starter = ClientPOStarter(client, settings)
        self.worker = ProductProcess("worker", "worker", settings=settings, report=silent)
        self.gateway = ProductProcess("gateway", "gateway", settings=settings, report=silent)

    async def start(self, document: dict[str, Any], staged_at: datetime) -> WorkflowHandle[Any, Any]:
        await self._starter.start(document, document_hash(document), staged_at)
        return self.client.get_workflow_handle(names.client_po_id(document["smart_contract_id"]))

    def part_workflow(self, part: str) -> str:
        return names.part_arrival_id(part, None)


class Floor(Side):
    title = "floor"
    topic = TOPIC

    def __init__(self, client: Client, ledger: Ledger, settings: Settings) -> None:
        super().__init__(client, ledger)
        self.worker = FloorProcess("floor-worker", "worker", settings=settings, report=silent)
        self.gateway = FloorProcess("floor-gateway", "gateway", settings=settings, report=silent)

    async def start(self, document: dict[str, Any], staged_at: datetime) -> WorkflowHandle[Any, Any]:
        name, part = document["smart_contract_id"], document["part_id"]
        delivery = NodeDelivery(
            smart_contract_id=name,
            number=1,
            document=document,
            document_hash=document_hash(document),
            priority=3,
            due_date=None,
            quantity=1,
            broadcast_ids=(f"BC-{name}",),
        )
        waiting = WaitingPO(smart_contract_id=name, ticket=1, quantity=1, priority=3, staged_at=staged_at, place=None)
        return await self.client.start_workflow(
            FloorPOWorkflow.run, args=[part, delivery, waiting], id=f"floor-po/{name}", task_queue=QUEUE
        )

    def part_workflow(self, part: str) -> str:
        return f"floor-part/{part}"


async def run(settings: Settings, console: Console) -> None:
    """Measures on fresh servers and prints; takes some minutes."""
    client = await connect(settings)
    node = ProductProcess(f"node-{NODE}", "worker", "--node", NODE, settings=settings, report=silent)
    async with open_ledger(settings, "benchmark") as (_, ledger), publishing_client(settings) as mqtt:
        sides: Sequence[Side] = (Product(client, ledger, settings), Floor(client, ledger, settings))
        processes = [node, *(process for side in sides for process in (side.worker, side.gateway))]
        try:
            await asyncio.gather(*(process.start() for process in processes))
            with Progress(console=console, transient=True) as progress:
                await _latency(sides, mqtt, console, progress)
                await _throughput(sides, mqtt, console, progress)
                await _counts(sides, console)
                await _memory(sides, console, progress)
        finally:
            await asyncio.gather(*(process.stop() for process in processes))


async def _latency(sides: Sequence[Side], mqtt: aiomqtt.Client, console: Console, progress: Progress) -> None:
    seconds: dict[str, list[float]] = {side.title: [] for side in sides}
    for number in progress.track(range(LATENCIES), description="broadcast to released"):
        for side in sides:
            name = f"LAT-{side.title}-{number}"
            [handle] = await side.stage_all([name])
            began = time.perf_counter()
            await side.announce(mqtt, name)
            await handle.result()
            seconds[side.title].append(time.perf_counter() - began)
    table = Table(title=f"Broadcast to released, {LATENCIES} POs each, one at a time")
    for column in ("", "p50 ms", "p95 ms"):
        table.add_column(column, justify="right" if column else "left")
    figures = {
        title: (statistics.median(times), statistics.quantiles(times, n=20)[-1]) for title, times in seconds.items()
    }
    for title, (p50, p95) in figures.items():
        table.add_row(title, f"{p50 * 1000:.1f}", f"{p95 * 1000:.1f}")
    ratios = [product / floor for product, floor in zip(figures["product"], figures["floor"], strict=True)]
    table.add_row("product / floor (aim: 1.25 or less)", *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)


async def _throughput(sides: Sequence[Side], mqtt: aiomqtt.Client, console: Console, progress: Progress) -> None:
    rates: dict[str, list[float]] = {side.title: [] for side in sides}
    for number in progress.track(range(ROUNDS), description=f"{IN_FLIGHT} in flight"):
        for side in sides:
            staged = [f"THR-{side.title}-{number}-{place}" for place in range(IN_FLIGHT)]
            handles = await side.stage_all(staged)
            began = time.perf_counter()
            for name in staged:
                await side.announce(mqtt, name)
            await asyncio.gather(*(handle.result() for handle in handles))
            rates[side.title].append(IN_FLIGHT / (time.perf_counter() - began))
    product, floor = (statistics.median(rates[side.title]) for side in sides)
    table = Table("", "POs/s", title=f"Released per second with {IN_FLIGHT} in flight, median of {ROUNDS}")
    table.add_row("product", f"{product:.0f}")
    table.add_row("floor", f"{floor:.0f}")
    table.add_row("product / floor", f"{product / floor:.2f}")
    console.print(table)


async def _counts(sides: Sequence[Side], console: Console) -> None:
    """One PO of the latency runs and its part, staged before its part came."""
    table = Table("", "events", "actions", title="History events and Temporal actions for one PO, staged to released")
    for side in sides:
        name = f"LAT-{side.title}-{LATENCIES - 1}"
        po = names.client_po_id(name) if side.title == "product" else f"floor-po/{name}"
        found: Counter[str] = Counter()
        for workflow_id in (po, side.part_workflow(f"PART-{name}")):
            found.update(await counted(side.client, workflow_id))
        table.add_row(
            "product" if side.title == "product" else "floor: its steps", str(found["events"]), str(found["actions"])
        )
    console.print(table)


async def counted(client: Client, workflow_id: str) -> Counter[str]:
    """What Temporal counts of a workflow: its history's `events`, and the `actions` among them."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    local = {
        event.marker_recorded_event_attributes.workflow_task_completed_event_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED
    }
    actions = sum(event.event_type in ACTIONS for event in history.events)
    return Counter(events=len(history.events), actions=actions + len(local))


async def _memory(sides: Sequence[Side], console: Console, progress: Progress) -> None:
    table = Table("", "MiB at start", f"MiB with {WAITING} waiting", title="Resident memory of the worker process")
    for side in progress.track(sides, description=f"{WAITING} waiting"):
        await side.worker.stop()
        await side.worker.start()
        fresh = _resident(side.worker)
        await side.stage_all([f"MEM-{side.title}-{place}" for place in range(WAITING)])
        table.add_row(side.title, f"{fresh:.0f}", f"{_resident(side.worker):.0f}")
    console.print(table)


def _resident(process: ProductProcess) -> float:
    return psutil.Process(process.pid).memory_info().rss / 2**20


def _document(name: str) -> dict[str, Any]:
    return {
        "smart_contract_id": name,
        "contract_type": "nondestructive_testing",
        "clientpo_id": "CPO-BENCH",
        "client": "Benchmark",
        "part_id": f"PART-{name}",
        "tests": [
            {
                "test_id": f"{name}-1",
                "test_type": "liquid_penetrant",
                "assigned_node": NODE,
                "procedure": {"procedure_id": "ASTM-E1417", "revision": "2021"},
                "required_signoffs": ["inspector"],
                "equipment": ["UV-LAMP-04"],
            }
        ],
        "routing_trigger": {"type": "workflow_complete"},
    }


def staging(document: dict[str, Any], status: str = "awaiting_arrival") -> Record:
    """The row of a PO, and the entry that says so."""
    po = SmartClientPO.model_validate(document)
    name = po.smart_contract_id
    terms = {field: getattr(po, field) for field in ClientPOStaged.model_fields if field in SmartClientPO.model_fields}
    row = ClientPOStaged(
        **terms,
        document=json.dumps(document),
        document_hash=document_hash(document),
        staging_id=names.staging_id(name),
        workflow_id=names.client_po_id(name),
        target_node=po.target_node,
        status=status,
    )
    entry = LedgerEntry(
        idempotency_key=f"{name}:stage", action_type="handoff", action="stage_client_po", target=name, details="staged"
    )
    return Record(entry=entry, changes=(row,))


async def _exists(handle: WorkflowHandle[Any, Any]) -> bool:
    try:
        await handle.describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


def silent(_: str) -> None:
    """The table is what is reported."""
