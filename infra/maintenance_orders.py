"""What nodes are told of maintenance contracts: to whom a version goes, and a workflow for each of them."""

import asyncio

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from infra.maintenance import MaintenanceContracts
from infra.registry import Registry
from infra.temporal import NODE, RPC_TIMEOUT, STATUS
from schemas import names
from schemas.maintenance import DeploymentStatus, station_type
from schemas.maintenance_life import ChosenNodes, NodeOrder, NodeOrders, WantedNodes

AT_ONCE = 16
"""Workflows that are being started."""


class NodeOrdering:
    """Knows the registry, and which nodes the rows say are to be told."""

    def __init__(self, client: Client, contracts: MaintenanceContracts, registry: Registry) -> None:
        self._client = client
        self._contracts = contracts
        self._registry = registry

    def choose(self, wanted: WantedNodes) -> ChosenNodes:
        """All nodes of the contract's station type, or the named ones, which must be of it."""
        return choose_nodes(self._registry, wanted)

    async def send(self, orders: NodeOrders) -> None:
        """The same again starts nothing twice."""
        nodes = await self._contracts.open_nodes(orders, pending=not orders.retire)
        allowed = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as starting:
            for node_id in nodes:
                starting.create_task(self._start(NodeOrder(**dict(orders), node_id=node_id), allowed))

    async def _start(self, order: NodeOrder, allowed: asyncio.Semaphore) -> None:
        attributes = [
            SearchAttributePair(STATUS, DeploymentStatus.PENDING.value),
            SearchAttributePair(NODE, order.node_id),
        ]
        async with allowed:
            try:
                await self._client.start_workflow(
                    "ContractOnNodeWorkflow",
                    order,
                    id=order.workflow_id,
                    task_queue=names.MAIN_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    search_attributes=TypedSearchAttributes(attributes),
                    static_summary=f"{'end ' if order.retire else ''}{order} on {order.node_id}",
                    rpc_timeout=RPC_TIMEOUT,
                )
            except WorkflowAlreadyStartedError:
                return


def choose_nodes(registry: Registry, wanted: WantedNodes) -> ChosenNodes:
    """In order, each once."""
    kind = station_type(wanted.contract_id)
    of_its_type = [node.node_id for node in registry.nodes if node.station_type == kind]
    if not of_its_type:
        return ChosenNodes(refusal=f"the registry has no node of station type {kind}")
    if wanted.nodes is None:
        return ChosenNodes(nodes=tuple(sorted(of_its_type)))
    strange = sorted(set(wanted.nodes) - set(of_its_type))
    if strange:
        return ChosenNodes(refusal=f"{', '.join(strange)}: name nodes of station type {kind}, {', '.join(of_its_type)}")
    return ChosenNodes(nodes=tuple(sorted(set(wanted.nodes))))
