"""The dual transfer beside its floor, and beside itself without a vault.

Product and floor send bodies of the same content to the same API, which stores the results and stages the next
contract; they take turns. The product checks the authorization, prepares what it sends and records every step; the
floor has its bodies ready and sends them. The clock stops when both receipts are there.
"""

import asyncio
import statistics
import time
from datetime import timedelta
from typing import Any

from pydantic import SecretStr
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from infra.bearer import LocalKey
from infra.client_po import ClientPOs
from infra.contract_store import ContractStore
from infra.dispatch import Dispatcher
from infra.embedded.line import Line
from infra.embedded.ports import LOOPBACK, port
from infra.embedded.shop import ApiProcess, ProductProcess
from infra.hubs import OWN_ROUTES
from infra.ledger import Ledger
from infra.recorder import open_ledger
from infra.registry import load_registry
from infra.settings import Settings
from infra.tables.transfer import transfers
from infra.temporal import connect
from schemas import names
from schemas.guardian import AuthorizationPackage
from schemas.ledger import LedgerEntry
from schemas.permission import Role
from schemas.record import Record
from schemas.transfer import Destination, Prepare, Sending, TransferStart, opened
from tests.benchmarks.floor import FloorTransferWorkflow
from tests.benchmarks.floor_process import TRANSFERS
from tests.benchmarks.release import FloorProcess, silent, staging
from tests.packages import CP, Guardians, contract, leads_to

PACKAGES = 40
WITHOUT_VAULT = 20


class Bench:
    """Makes authorized packages of contracts that are released, each with its next contract in the store."""

    def __init__(self, client: Client, engine: AsyncEngine, ledger: Ledger, settings: Settings) -> None:
        self.client = client
        self.engine = engine
        self._ledger = ledger
        self._guardians = Guardians(settings.guardian_trust_dir)
        self._contracts = ContractStore(settings.contracts_dir)
        registry = load_registry(settings.nodes_file)
        self._dispatcher = Dispatcher(self._contracts, ClientPOs(engine), ledger, registry)

    async def package(self, name: str) -> AuthorizationPackage:
        own = {"clientpo_id": f"CPO-{name}", "part_id": f"PART-{name}"}
        first = contract(f"{name}-LP", **own, **leads_to(f"{name}-CP", CP))
        self._contracts.add(f"{name}-CP", contract(f"{name}-CP", CP, sequence_number=2, **own))
        await self._ledger.record(staging(first, status="released"))
        package = self._guardians.package(first)
        entry = LedgerEntry(
            idempotency_key=f"{package.package_id}:authorize",
            action_type="guardian",
            action="authorize_package",
            target=package.package_id,
            details="authorized",
        )
        await self._ledger.record(Record(entry=entry, changes=(opened(package),)))
        return package

    async def product(self, package: AuthorizationPackage) -> float:
        """Seconds until both receipts are there and recorded."""
        began = time.perf_counter()
        await (await self.start(package)).result()
        return time.perf_counter() - began

    async def start(self, package: AuthorizationPackage) -> Any:
        return await self.client.start_workflow(
            "TransferWorkflow",
            TransferStart(package=package),
            id=names.transfer_id(package.package_id),
            task_queue=names.MAIN_QUEUE,
        )

    async def floor(self, package: AuthorizationPackage) -> float:
        sendings = [
            await self._sending(destination, package) for destination in (Destination.VAULT, Destination.NEXT_NODE)
        ]
        began = time.perf_counter()
        await self.client.execute_workflow(
            FloorTransferWorkflow.run, sendings, id=f"floor-transfer/{package.package_id}", task_queue=TRANSFERS
        )
        return time.perf_counter() - began

    async def _sending(self, destination: Destination, package: AuthorizationPackage) -> Sending:
        prepare = Prepare(destination=destination, package=package)
        prepared = await self._dispatcher.prepare(prepare)
        if prepared.body is None:
            raise RuntimeError(prepared.refusal)
        return Sending(destination=destination, package_id=package.package_id, body=prepared.body)

    async def next_node_delay(self, package: AuthorizationPackage) -> float:
        """Seconds from the received authorization to the receipt of the next-node leg, as the ledger dates them."""
        await self.start(package)
        query = select(transfers.c.received_at, transfers.c.next_node_at).where(
            transfers.c.package_id == package.package_id, transfers.c.next_node_at.is_not(None)
        )
        async with asyncio.timeout(60):
            while True:
                async with self.engine.connect() as connection:
                    if row := (await connection.execute(query)).first():
                        return float((row.next_node_at - row.received_at).total_seconds())
                await asyncio.sleep(0.05)


async def run(settings: Settings, console: Console) -> None:
    """Measures and prints; takes about two minutes."""
    line = Line(port())
    token = LocalKey(settings).token(Role.SERVICE, "handoff-dispatcher", timedelta(hours=1))
    address = f"http://{LOOPBACK}:{line.port}{OWN_ROUTES[Destination.VAULT]}"
    over_line = settings.model_copy(update={"vault_hub_url": address, "hub_token": SecretStr(token)})
    processes = [
        ApiProcess("api", "api", settings=settings, report=silent),
        ProductProcess("worker", "worker", settings=over_line, report=silent),
        ProductProcess(f"node-{CP}", "worker", "--node", CP, settings=settings, report=silent),
        FloorProcess("floor-transfers", "transfers", settings=over_line, report=silent),
    ]
    async with open_ledger(settings, "benchmark") as (engine, ledger):
        bench = Bench(await connect(settings), engine, ledger, settings)
        try:
            await asyncio.gather(*(process.start() for process in processes))
            await line.join(settings.api_port)
            with Progress(console=console, transient=True) as progress:
                await _latency(bench, console, progress)
                await _without_vault(bench, line, settings, console, progress)
        finally:
            await asyncio.gather(*(process.stop() for process in processes))
            await line.cut()


async def _latency(bench: Bench, console: Console, progress: Progress) -> None:
    seconds: dict[str, list[float]] = {"product": [], "floor": []}
    for number in progress.track(range(PACKAGES), description="authorization to both receipts"):
        seconds["product"].append(await bench.product(await bench.package(f"XFER-P-{number}")))
        seconds["floor"].append(await bench.floor(await bench.package(f"XFER-F-{number}")))
    table = Table(
        "", "p50 ms", "p95 ms", title=f"Authorization to both receipts, {PACKAGES} packages each, one at a time"
    )
    figures = {
        side: (statistics.median(times), statistics.quantiles(times, n=20)[-1]) for side, times in seconds.items()
    }
    for side, found in figures.items():
        table.add_row(side, *(f"{value * 1000:.1f}" for value in found))
    ratios = [product / floor for product, floor in zip(figures["product"], figures["floor"], strict=True)]
    table.add_row("product / floor", *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)


async def _without_vault(bench: Bench, line: Line, settings: Settings, console: Console, progress: Progress) -> None:
    with_vault: list[float] = []
    without: list[float] = []
    for number in progress.track(range(WITHOUT_VAULT), description="without a vault"):
        with_vault.append(await bench.next_node_delay(await bench.package(f"XFER-W-{number}")))
        await line.cut()
        without.append(await bench.next_node_delay(await bench.package(f"XFER-D-{number}")))
        await line.join(settings.api_port)
    table = Table("", "p50 ms", title=f"Authorization received to next-node receipt, {WITHOUT_VAULT} packages each")
    here, away = statistics.median(with_vault), statistics.median(without)
    table.add_row("vault there", f"{here * 1000:.1f}")
    table.add_row("vault away", f"{away * 1000:.1f}")
    table.add_row("away / there (aim: 1)", f"{away / here:.2f}")
    console.print(table)
