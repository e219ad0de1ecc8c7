"""A test's maintenance contracts: the real policy repository, real nodes' disks, and rows in memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from temporalio.worker import Worker

from activities.maintenance import MaintenanceActivities
from activities.maintenance_node import MaintenanceNodeActivities
from infra.maintenance_drafts import Drafts
from infra.maintenance_orders import NodeOrdering
from infra.node_maintenance import NodeMaintenance
from infra.policy_repository import PolicyRepository
from infra.registry import Registry
from infra.rows.maintenance import CAN_BECOME
from infra.temporal import workflow_status
from schemas import names
from schemas.canonical import document_hash
from schemas.changes.maintenance import (
    ContractChanged,
    ContractCreated,
    DeploymentChanged,
    DeploymentOpened,
    DeploymentsSuperseded,
)
from schemas.ledger import LedgerEntry
from schemas.maintenance import OPEN_DEPLOYMENTS, RETIRED, ContractDelivery, DeploymentStatus
from schemas.maintenance_life import Progress, deployment_wanted, retirement_wanted
from schemas.maintenance_orders import NodeOrder, NodeOrders, OrdersRefused
from schemas.maintenance_version import ContractChange, NewVersion, VersionRef
from schemas.node import Node
from schemas.permission import Role
from schemas.policy_repository import Publication, Published
from schemas.record import Change
from tests.workflows.shop import DEADLINE, MemoryLedger, Shop, happened, until

if TYPE_CHECKING:
    from temporalio.client import WorkflowHandle

Json = dict[str, Any]


class ContractLedger(MemoryLedger):
    """With the rows of contracts and of where they are, kept as `infra.rows` keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[tuple[str, str], Json] = {}
        self.deployments: dict[tuple[str, str, str], DeploymentStatus] = {}
        self.numbers: dict[tuple[str, str, str], int] = {}

    async def under(self, idempotency_key: str) -> LedgerEntry | None:
        return self.entries.get(idempotency_key)

    def _change(self, change: Change, entry: LedgerEntry) -> None:
        match change:
            case ContractCreated():
                self.versions[change.contract_id, change.version] = {
                    **dict.fromkeys(("faults", "pending_approval", "publish_fault", "file_hash", "retirement_reason")),
                    **change.model_dump(exclude={"kind"}),
                }
            case ContractChanged():
                self.versions[change.contract_id, change.version].update(change.model_dump(exclude={"kind"}))
            case DeploymentOpened():
                key = change.contract_id, change.version, change.node_id
                self.deployments.setdefault(key, DeploymentStatus.PENDING)
                self.numbers.setdefault(key, len(self.entries) - 1)
            case DeploymentChanged():
                key, status = (change.contract_id, change.version, change.node_id), DeploymentStatus(change.status)
                retired = self.versions[key[:2]]["status"] in RETIRED
                if not (retired and status is DeploymentStatus.ACKNOWLEDGED):
                    self._become(key, status)
            case DeploymentsSuperseded():
                of_it = [key for key in self.numbers if (key[0], key[2]) == (change.contract_id, change.node_id)]
                heard = {self.numbers[k] for k in of_it if self.deployments[k] is DeploymentStatus.ACKNOWLEDGED}
                for key in of_it:
                    if change.below in heard and self.numbers[key] < change.below:
                        self._become(key, DeploymentStatus.SUPERSEDED)
            case _:
                super()._change(change, entry)

    def _become(self, key: tuple[str, str, str], status: DeploymentStatus) -> None:
        if self.deployments.get(key) in CAN_BECOME[status]:
            self.deployments[key] = status


class WatchedRepository(PolicyRepository):
    """The real one; a test does something once a file is written, or lets versions meet before theirs are."""

    on_published: Callable[[], None] | None = None
    meeting: asyncio.Barrier | None = None

    async def publish(self, publication: Publication) -> Published:
        if self.meeting is not None:
            async with asyncio.timeout(DEADLINE):
                await self.meeting.wait()
        answer = await super().publish(publication)
        if self.on_published is not None and answer.fault is None:
            self.on_published()
        return answer

    async def put(self, ref: VersionRef, document: Json) -> None:
        """What a person does who brings back what was published."""
        await super().publish(Publication(**dict(ref), document=document))


class WatchedOrdering(NodeOrdering):
    """The real one; while a test has not set `told`, no node is told anything more."""

    told: asyncio.Event | None = None

    async def send(self, orders: NodeOrders) -> OrdersRefused | None:
        if self.told is not None:
            await self.told.wait()
        return await super().send(orders)


class MemoryContracts:
    """Reads what the ledger in memory wrote, as `infra.maintenance` reads rows."""

    def __init__(self, ledger: ContractLedger) -> None:
        self._ledger = ledger

    async def get(self, ref: VersionRef) -> Json | None:
        return self._ledger.versions.get((ref.contract_id, ref.version))

    async def versions(self, contract_id: str) -> list[Json]:
        return [row for (name, _), row in self._ledger.versions.items() if name == contract_id]

    async def nodes(self, ref: VersionRef) -> set[str]:
        return set(self.deployments(ref))

    async def open_nodes(self, ref: VersionRef) -> list[Json]:
        numbers = self._ledger.numbers
        return [
            {"node_id": node, "status": status, "number": numbers[ref.contract_id, ref.version, node]}
            for node, status in self.deployments(ref).items()
            if status in OPEN_DEPLOYMENTS
        ]

    async def last_deployed(self, contract_id: str, *, before: int | None = None) -> dict[str, str]:
        numbers = self._ledger.numbers
        keys = [key for key in numbers if key[0] == contract_id and self._counts(key)]
        earlier = [key for key in keys if before is None or numbers[key] < before]
        return {key[2]: key[1] for key in sorted(earlier, key=numbers.__getitem__)}

    def _counts(self, key: tuple[str, str, str]) -> bool:
        status, retired = self._ledger.deployments[key], self._ledger.versions[key[:2]]["status"] in RETIRED
        return status in OPEN_DEPLOYMENTS and not (retired and status is DeploymentStatus.PENDING)

    async def is_wanted(self, order: NodeOrder) -> bool:
        row = self._ledger.versions[order.contract_id, order.version]
        is_open = order.node_id in [row["node_id"] for row in await self.open_nodes(order)]
        return is_open and order.retire == (row["status"] in ("deprecated", "archived"))

    async def moved(self, contract_id: str) -> list[str]:
        versions = [row["version"] for row in await self.versions(contract_id)]
        found = {each: await self.progress(VersionRef(contract_id=contract_id, version=each)) for each in versions}
        return [version for version, progress in found.items() if progress is not None and progress.next is not None]

    async def progress(self, ref: VersionRef) -> Progress | None:
        row, statuses = await self.get(ref), list(self.deployments(ref).values())
        if row is None:
            return None
        return Progress(
            status=row["status"],
            pending=statuses.count(DeploymentStatus.PENDING),
            acknowledged=statuses.count(DeploymentStatus.ACKNOWLEDGED),
        )

    def deployments(self, ref: VersionRef) -> dict[str, DeploymentStatus]:
        return {
            node: status
            for (name, version, node), status in self._ledger.deployments.items()
            if (name, version) == (ref.contract_id, ref.version)
        }


class Station(NamedTuple):
    """A node with its own disk."""

    node: Node
    maintenance: NodeMaintenance

    @property
    def in_force(self) -> list[str]:
        return [contract.version for contract in self.maintenance.contracts()]


class Contracts:
    """A registry of two penetrant cells and another node, and the contracts that are made for them."""

    def __init__(self, shop: Shop, ledger: ContractLedger, folder: Path) -> None:
        self.shop = shop
        self.ledger = ledger
        self.folder = folder / "maintenance-contracts"
        self.rows = MemoryContracts(ledger)
        found = [Node(node_id=f"N{number}-{shop.name}", station_type="LP", name="penetrant") for number in range(2)]
        self.stations = [Station(node, NodeMaintenance(node, folder / f"{node.node_id}.sqlite")) for node in found]
        other = Node(node_id=f"X-{shop.name}", station_type="CP", name="chemistry")
        registry = Registry(nodes=(*found, other))
        settings = shop.settings
        self.drafts = Drafts(shop.client, self.rows, ledger, registry, settings)  # type: ignore[arg-type]
        self.ordering = WatchedOrdering(shop.client, self.rows, registry)  # type: ignore[arg-type]
        self.repository = WatchedRepository(self.folder)
        does = MaintenanceActivities(self.drafts, self.rows, self.repository, self.ordering)  # type: ignore[arg-type]
        self._does = does

    def close(self) -> None:
        """Lets go of all disks."""
        self.shop.close()
        for station in self.stations:
            station.maintenance.close()

    def activities(self) -> tuple[Callable[..., Any], ...]:
        does = self._does
        return (
            *(does.create_version, does.choose_nodes, does.publish_contract),
            *(does.read_policy, does.send_orders, does.read_progress, does.read_moved, does.is_wanted),
        )

    @asynccontextmanager
    async def online(self, *stations: Station) -> AsyncIterator[None]:
        """The workers of these nodes, or of all."""
        async with AsyncExitStack() as workers:
            for station in stations or self.stations:
                does = MaintenanceNodeActivities(station.maintenance)
                worker = Worker(
                    self.shop.client,
                    task_queue=names.node_queue(station.node.node_id),
                    activities=[does.take_contract, does.retire_contract],
                    activity_executor=workers.enter_context(ThreadPoolExecutor(1)),
                )
                await workers.enter_async_context(worker)
            yield

    def document(self, **fields: Any) -> Json:
        return {
            "smart_contract_id": f"LP-{self.shop.name}",
            "title": "UV lamp",
            "description": "Irradiance before each shift",
            "equipment_types": ["uv_lamp"],
            "conditions": ["must-calibrate-before-test"],
            "calibration_interval_days": 180,
            **fields,
        }

    async def create(self, **fields: Any) -> "ContractVersion":
        """A draft of the first version, by eve."""
        row, _ = await self.drafts.create(self.document(**fields), "eve")
        await self.drafts.start(row)
        return self._version(row["contract_id"], row["version"])

    async def improve(self, parent: "ContractVersion", **fields: Any) -> "ContractVersion":
        """A draft that changes these fields of another version."""
        before = json.loads(parent.row["document"])
        changes = tuple(
            ContractChange(field=f"/{name}", before=before.get(name), after=value, reason="three alerts")
            for name, value in fields.items()
        )
        new = NewVersion(
            contract_id=parent.ref.contract_id,
            parent_version=parent.ref.version,
            changes=changes,
            reason="three alerts",
            created_by="eve",
            key=document_hash(fields),
        )
        created = await self._does.create_version(new)
        return self._version(created.contract_id, created.version)

    def _version(self, contract_id: str, version: str) -> "ContractVersion":
        found = ContractVersion(self, VersionRef(contract_id=contract_id, version=version))
        self.shop.workflow_ids.add(found.handle.id)
        return found

    def published(self, version: "ContractVersion") -> Json:
        """What its nodes are sent."""
        document: Json = json.loads(version.row["document"])
        return document

    def played(self) -> set[str]:
        """The workflows of nodes that were started."""
        return {
            names.contract_on_node_id(*key, retire=retire)
            for key, retire in ((key, retire) for key in self.ledger.deployments for retire in (False, True))
            if f"{names.contract_on_node_id(*key, retire=retire)}:acknowledge" in self.ledger.entries
        }


class ContractVersion:
    """One version of a test; what is asked of it comes by signal, as from the Temporal Web UI."""

    def __init__(self, contracts: Contracts, ref: VersionRef) -> None:
        self.contracts = contracts
        self.shop = contracts.shop
        self.ref = ref
        self.handle: WorkflowHandle[Any, Any] = self.shop.client.get_workflow_handle(ref.workflow_id)

    @property
    def row(self) -> Json:
        return self.contracts.ledger.versions[self.ref.contract_id, self.ref.version]

    @property
    def deployments(self) -> list[str]:
        """Of the nodes, in their order."""
        found = self.contracts.rows.deployments(self.ref)
        return [found[name].value for station in self.contracts.stations if (name := station.node.node_id) in found]

    async def is_(self, status: str) -> None:
        await until(lambda: self.row["status"] == status, lambda: f"{self.ref} is {self.row['status']}; {self.shop}")

    async def is_on_nodes(self, *statuses: str) -> None:
        await until(
            lambda: self.deployments == list(statuses), lambda: f"{self.ref} is {self.deployments}; {self.shop}"
        )

    def entries(self, action: str) -> list[LedgerEntry]:
        return [e for e in self.shop.entries(action) if e.metadata.get("version") == self.ref.version]

    async def recorded(self, action: str, count: int = 1) -> LedgerEntry:
        await until(lambda: len(self.entries(action)) >= count, lambda: f"{count} of {action}: {self.shop}")
        return self.entries(action)[count - 1]

    async def ask(self, signal: str, **payload: Any) -> None:
        await self.handle.signal(signal, payload)

    async def deployment_token(self, nodes: list[str] | None = None) -> str:
        """Eve's."""
        chosen = nodes or [station.node.node_id for station in self.contracts.stations]
        wanted = deployment_wanted(self.ref, self.row["document_hash"], chosen)
        return await self.shop.token(wanted, names.DEPLOY, by="eve", role=Role.MAINTENANCE_ENGINEER)

    async def ask_deployment(self, nodes: list[str] | None = None) -> str:
        """By eve; the approval's ID."""
        before = len(self.entries("ask_approval"))
        token = await self.deployment_token(nodes)
        await self.ask(names.DEPLOY, reason="ready", token=token, nodes=nodes)
        return str((await self.recorded("ask_approval", before + 1)).metadata["approval_id"])

    async def deploy(self, nodes: list[str] | None = None) -> None:
        """Validated, asked for by eve, approved by bob."""
        await self.ask(names.VALIDATE)
        await self.is_("validated")
        await self.answer(await self.ask_deployment(nodes))
        await self.recorded("deploy_contract")

    async def order(self, station: Station) -> "WorkflowHandle[Any, Any]":
        """What the node is told of it, once that is on its way."""
        key = (self.ref.contract_id, self.ref.version, station.node.node_id)
        handle = self.shop.client.get_workflow_handle(names.contract_on_node_id(*key, retire=False))
        async with asyncio.timeout(DEADLINE):
            while await workflow_status(self.shop.client, handle.id) is None:
                await asyncio.sleep(0.05)
        return handle

    async def sent(self) -> None:
        """To every node."""
        for station in self.contracts.stations:
            await self.order(station)

    def take_unheard(self) -> None:
        """Each node takes it, and dies before its answer is heard."""
        [entry] = self.entries("deploy_contract")
        delivery = ContractDelivery(
            **dict(self.ref),
            number=list(self.contracts.ledger.entries).index(entry.idempotency_key),
            document=self.contracts.published(self),
            document_hash=self.row["document_hash"],
        )
        for station in self.contracts.stations:
            station.maintenance.take_contract(delivery)

    async def is_answered(self) -> None:
        """Every node has said what it has, when it was sent this one."""
        for station in self.contracts.stations:
            await happened(await self.order(station), "ACTIVITY_TASK_COMPLETED")

    async def answer(self, approval_id: str, answer: str = "approve", *, by: str = "bob") -> None:
        approval = await self.shop.approval(approval_id)
        await approval.answer(answer, by=by, role=Role.QUALITY_MANAGER)

    async def retire(self, reason: str = "not needed") -> None:
        """By bob."""
        token = await self.shop.token(retirement_wanted(self.ref), names.RETIRE, by="bob", role=Role.QUALITY_MANAGER)
        await self.ask(names.RETIRE, reason=reason, token=token)
