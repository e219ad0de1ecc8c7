"""What nodes are told of maintenance contracts: to whom a version goes, and a workflow for each of them.

A version takes over from what its own parents were made of, and from nothing else: two drafts of one parent hold each
what the other does not, so the second to be deployed would undo the first without a word. That is looked at before a
deployment is asked for and when it is approved; and once more before it is sent, because only the numbers of what is
recorded say which of two came second.
"""

import asyncio
from collections.abc import Collection, Iterable

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from infra.database import Row
from infra.maintenance import MaintenanceContracts
from infra.registry import Registry
from infra.temporal import NODE, RPC_TIMEOUT, STATUS
from schemas import names
from schemas.maintenance import DeploymentStatus, station_type
from schemas.maintenance_orders import ChosenNodes, NodeOrder, NodeOrders, OrdersRefused, WantedNodes
from schemas.maintenance_version import VersionRef

AT_ONCE = 16
"""Workflows that are being started."""


class NodeOrdering:
    """Knows the registry, and which nodes the rows say are to be told."""

    def __init__(self, client: Client, contracts: MaintenanceContracts, registry: Registry) -> None:
        self._client = client
        self._contracts = contracts
        self._registry = registry

    async def choose(self, wanted: WantedNodes) -> ChosenNodes:
        """Those that never had it, of all nodes of its station type or of the named ones; none may lose a version's
        changes.
        """
        chosen = choose_nodes(self._registry, wanted, await self._contracts.nodes(wanted))
        if chosen.refusal is None and (undone := await self._undone(wanted, chosen.nodes)):
            return ChosenNodes(refusal=undone)
        return chosen

    async def missing(self, ref: VersionRef) -> list[str]:
        """The nodes of its station type that never had a version and may get it."""
        chosen = choose_nodes(self._registry, WantedNodes(**dict(ref), nodes=None), await self._contracts.nodes(ref))
        undone = await self._would_undo(ref)
        return [node_id for node_id in chosen.nodes if node_id not in undone]

    async def _undone(self, ref: VersionRef, nodes: Iterable[str], before: int | None = None) -> str | None:
        """What a version would undo of the deployments that were recorded, `before` its own once it has one."""
        undone = await self._would_undo(ref, before)
        for node_id in nodes:
            if version := undone.get(node_id):
                return f"{node_id} has {version}, whose changes {ref.version} would undo: make it from {version}"
        return None

    async def _would_undo(self, ref: VersionRef, before: int | None = None) -> dict[str, str]:
        """By node, what is there and is not of the line that the version was made from."""
        parents = {row["version"]: row["parent_version"] for row in await self._contracts.versions(ref.contract_id)}
        line, version = set(), parents.get(ref.version)
        while version is not None:
            line.add(version)
            version = parents.get(version)
        there = await self._contracts.last_deployed(ref.contract_id, before=before)
        return {node_id: version for node_id, version in there.items() if version not in line}

    async def send(self, orders: NodeOrders) -> OrdersRefused | None:
        """The same again starts nothing twice. What ends on a node is the delivery that went there, by its number."""
        told = await self._contracts.open_nodes(orders)
        if not orders.retire:
            told = [row for row in told if (row["status"], row["number"]) == (DeploymentStatus.PENDING, orders.number)]
            undone = await self._undone(orders, (row["node_id"] for row in told), before=orders.number)
            if undone is not None:
                return OrdersRefused(reason=undone)
        allowed = asyncio.Semaphore(AT_ONCE)

        async def start(row: Row) -> None:
            async with allowed:
                restores = orders.retire and row["status"] == DeploymentStatus.PENDING
                on_node = {"node_id": row["node_id"], "number": row["number"], "restores": restores}
                await self.start(NodeOrder(**{**dict(orders), **on_node}))

        async with asyncio.TaskGroup() as starting:
            for row in told:
                starting.create_task(start(row))
        return None

    async def start(self, order: NodeOrder) -> bool:
        """Also one that was closed from outside; False where it is open, or has ended well."""
        attributes = [
            SearchAttributePair(STATUS, DeploymentStatus.PENDING.value),
            SearchAttributePair(NODE, order.node_id),
        ]
        try:
            await self._client.start_workflow(
                "ContractOnNodeWorkflow",
                order,
                id=order.workflow_id,
                task_queue=names.MAIN_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                search_attributes=TypedSearchAttributes(attributes),
                static_summary=f"{'end ' if order.retire else ''}{order} on {order.node_id}",
                rpc_timeout=RPC_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            return False
        return True


def choose_nodes(registry: Registry, wanted: WantedNodes, having: Collection[str]) -> ChosenNodes:
    """In order, each once, without those that are `having` it or had it: a version goes to a node once."""
    kind = station_type(wanted.contract_id)
    of_its_type = [node.node_id for node in registry.nodes if node.station_type == kind]
    if not of_its_type:
        return ChosenNodes(refusal=f"the registry has no node of station type {kind}")
    named = of_its_type if wanted.nodes is None else wanted.nodes
    strange = sorted(set(named) - set(of_its_type))
    if strange:
        return ChosenNodes(refusal=f"{', '.join(strange)}: name nodes of station type {kind}, {', '.join(of_its_type)}")
    chosen = tuple(sorted(set(named) - set(having)))
    if not chosen:
        return ChosenNodes(refusal=f"all of them have {wanted}, or had it: to change what is there, make a new version")
    return ChosenNodes(nodes=chosen, whole_type=set(of_its_type) <= {*chosen, *having})
