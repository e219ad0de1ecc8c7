"""The deployment of a maintenance contract to 200 nodes, beside 200 bare activities on the same queues.

Both put a version of the same size on the same disks, in turns. The product reads its document from the policy
repository, records what each node acknowledges and knows when all have; its clock runs from the entry that it is
deployed to the one that it is active. The floor starts one activity for each node and waits for all.
"""

import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker

from infra.decisions import DecisionSigner
from infra.embedded.shop import ProductProcess
from infra.ledger import Ledger
from infra.maintenance import MaintenanceContracts
from infra.maintenance_drafts import Drafts
from infra.recorder import open_ledger
from infra.registry import load_registry
from infra.settings import Settings
from infra.temporal import connect
from schemas import names
from schemas.canonical import document_hash
from schemas.decision import Wanted
from schemas.identity import Identity
from schemas.maintenance import ContractDelivery, ContractStatus
from schemas.maintenance_life import deployment_approval_id, deployment_wanted
from schemas.maintenance_version import VersionRef
from schemas.permission import Permission, Role
from tests.benchmarks.floor import FloorDeploymentWorkflow
from tests.benchmarks.release import silent
from tests.fleet import fleet, registry_of
from workers.worker import SANDBOX

NODES = 200
ROUNDS = 3
FLOOR_QUEUE = "floor-maintenance"


def document(contract_id: str) -> dict[str, object]:
    return {
        "smart_contract_id": contract_id,
        "title": "UV lamp",
        "description": "Irradiance before each shift",
        "equipment_types": ["uv_lamp"],
        "conditions": ["must-calibrate-before-test"],
        "calibration_interval_days": 180,
    }


class Bench:
    def __init__(self, client: Client, engine: AsyncEngine, ledger: Ledger, settings: Settings) -> None:
        self.client = client
        self.rows = MaintenanceContracts(engine)
        self.registry = load_registry(settings.nodes_file)
        self.node_ids = [node.node_id for node in self.registry.nodes]
        self._drafts = Drafts(client, self.rows, ledger, self.registry, settings)
        self._signer = DecisionSigner(settings)

    def _token(self, wanted: Wanted, decision: str, by: str) -> str:
        now = datetime.now(UTC)
        return self._signer.sign(
            Identity(user_id=by, role=Role.QUALITY_MANAGER, auth_time=now),
            workflow_id=wanted.workflow_id,
            content_hash=wanted.content_hash,
            decision=decision,
            meaning=decision,
            at=now,
        )

    async def product(self, contract_id: str) -> tuple[float, int, int]:
        """Seconds from deployed to active, and the events of the contract's workflow and of a node's."""
        row, _ = await self._drafts.create(document(contract_id), "eve")
        await self._drafts.start(row)
        ref = VersionRef(contract_id=contract_id, version=row["version"])
        handle = self.client.get_workflow_handle(ref.workflow_id)
        await handle.execute_update(names.VALIDATE, {"user_id": "eve"})
        wanted = deployment_wanted(ref, row["document_hash"], self.node_ids)
        asked = {"reason": "ready", "user_id": "eve", "token": self._token(wanted, names.DEPLOY, "eve")}
        await handle.execute_update(names.DEPLOY, asked)
        await self._approve(deployment_approval_id(ref, 1))
        while (row := await self.rows.get(ref) or {})["status"] != ContractStatus.MONITORING:
            await asyncio.sleep(0.1)
        on_node = self.client.get_workflow_handle(
            names.contract_on_node_id(contract_id, ref.version, self.node_ids[0], retire=False)
        )
        events = [len((await one.fetch_history()).events) for one in (handle, on_node)]
        return (row["active_at"] - row["deployed_at"]).total_seconds(), events[0], events[1]

    async def _approve(self, approval_id: str) -> None:
        approval = self.client.get_workflow_handle(names.approval_workflow_id(approval_id))
        start = (await approval.fetch_history()).events[0].workflow_execution_started_event_attributes
        [asked] = await self.client.data_converter.decode(start.input.payloads)
        request = asked["request"]
        wanted = Wanted(
            workflow_id=approval.id,
            content_hash=document_hash({name: value for name, value in request.items() if name != "wakes"}),
            decisions=("approve",),
            permission=Permission.CONTRACT_DEPLOY,
        )
        await approval.execute_update(names.RESPOND, {"token": self._token(wanted, "approve", "bob")})

    async def floor(self, contract_id: str) -> float:
        content = document(contract_id)
        delivery = ContractDelivery(
            contract_id=contract_id,
            version="1.0",
            number=1,
            document=content,
            document_hash=document_hash(content),
        )
        began = time.perf_counter()
        await self.client.execute_workflow(
            FloorDeploymentWorkflow.run,
            args=[delivery, self.node_ids],
            id=f"floor/{contract_id}",
            task_queue=FLOOR_QUEUE,
        )
        return time.perf_counter() - began


async def run(settings: Settings, console: Console) -> None:
    """Measures and prints; takes about a minute."""
    with tempfile.TemporaryDirectory(prefix="smartfloor-fleet-") as folder:
        nodes = registry_of(NODES, "B", Path(folder) / "nodes.yaml")
        ours = settings.model_copy(update={"nodes_file": Path(folder) / "nodes.yaml"})
        client = await connect(ours)
        worker = ProductProcess("worker", "worker", settings=ours, report=silent)
        bare = Worker(client, task_queue=FLOOR_QUEUE, workflows=[FloorDeploymentWorkflow], workflow_runner=SANDBOX)
        async with open_ledger(ours, "benchmark") as (engine, ledger), fleet(client, nodes, Path(folder)), bare:
            bench = Bench(client, engine, ledger, ours)
            await worker.start()
            try:
                await _measure(bench, console)
            finally:
                await worker.stop()


async def _measure(bench: Bench, console: Console) -> None:
    product: list[float] = []
    floor: list[float] = []
    for number in range(ROUNDS):
        seconds, contract_events, node_events = await bench.product(f"LP-product-{number}")
        product.append(seconds)
        floor.append(await bench.floor(f"LP-floor-{number}"))
    table = Table("", "median s", "best s", title=f"Deployment to {NODES} nodes, {ROUNDS} times")
    for side, found in (("product, all acknowledged and recorded", product), (f"{NODES} bare activities", floor)):
        table.add_row(side, f"{statistics.median(found):.2f}", f"{min(found):.2f}")
    table.add_row("product / floor", f"{statistics.median(product) / statistics.median(floor):.2f}", "")
    console.print(table)
    console.print(
        f"Events: {contract_events} of the contract's workflow, {node_events} of each node's", highlight=False
    )
