"""Many nodes, each with its own queue and disk, in one process."""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import yaml
from temporalio.client import Client
from temporalio.worker import Worker

from activities.maintenance_node import MaintenanceNodeActivities
from infra.node_maintenance import NodeMaintenance
from schemas import names
from schemas.node import Node


def registry_of(count: int, name: str, file: Path) -> list[Node]:
    """So many penetrant cells, written to a registry file."""
    nodes = [
        Node(node_id=f"LP-{name}-{number:03}", station_type="LP", name=f"cell {number}") for number in range(count)
    ]
    file.write_text(yaml.safe_dump({"nodes": [node.model_dump(mode="json", exclude_unset=True) for node in nodes]}))
    return nodes


@asynccontextmanager
async def fleet(client: Client, nodes: Sequence[Node], folder: Path) -> AsyncIterator[list[NodeMaintenance]]:
    """All of their workers."""
    async with AsyncExitStack() as workers:
        disks = [NodeMaintenance(node, folder / f"{node.node_id}.sqlite") for node in nodes]
        for disk in disks:
            workers.callback(disk.close)
        threads = workers.enter_context(ThreadPoolExecutor(8))
        for disk in disks:
            does = MaintenanceNodeActivities(disk)
            worker = Worker(
                client,
                task_queue=names.node_queue(disk.node.node_id),
                activities=[
                    *(does.take_contract, does.retire_contract),
                    *(does.take_register, does.read_reports, does.confirm_reports),
                ],
                activity_executor=threads,
                max_concurrent_activities=1,
                max_concurrent_activity_task_polls=1,
            )
            await workers.enter_async_context(worker)
        yield disks
