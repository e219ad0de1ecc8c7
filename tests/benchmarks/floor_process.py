"""The floor's processes: `python -m tests.benchmarks.floor_process worker|gateway|transfers`."""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, cast

import aiomqtt
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Worker

from activities.ledger import LedgerActivities
from activities.part_arrival import PartArrivalActivities
from activities.transfer import TransferActivities
from infra.hubs import Hubs
from infra.mqtt import acknowledge, persistent_client
from infra.recorder import open_ledger
from infra.settings import Settings
from infra.temporal import PartArrivals, connect
from schemas.part_arrival import WaitingPO
from schemas.part_line import JoinLine, PartArrivalStart
from tests.benchmarks.floor import (
    FloorPartWorkflow,
    FloorPOWorkflow,
    FloorTestWorkflow,
    FloorTransferWorkflow,
    FloorWaitingWorkflow,
)
from workers.process import say_ready, stop_requested
from workers.worker import SANDBOX

QUEUE = "floor"
TRANSFERS = "floor-transfers"
TOPIC = "floor/part_arrival"


async def reach_part(client: Client, part: str, signal: str, *arguments: WaitingPO) -> None:
    """Signal-with-start, as the product does it."""
    await client.start_workflow(
        FloorPartWorkflow.run,
        PartArrivalStart(part_id=part, part_number=None, unclaimed_after=1),
        id=f"floor-part/{part}",
        task_queue=QUEUE,
        start_signal=signal,
        start_signal_args=arguments,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )


class FloorArrivals:
    """In place of `PartArrivals`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def join(self, join: JoinLine) -> None:
        await reach_part(self._client, str(join.part.part_id), "join", join.po)


async def run_worker(settings: Settings) -> None:
    client = await connect(settings)
    stop = stop_requested()
    async with open_ledger(settings, "floor") as (_, ledger):
        arrivals = cast("PartArrivals", FloorArrivals(client))
        activities: list[Callable[..., Any]] = [
            LedgerActivities(ledger).record,
            PartArrivalActivities(arrivals).join_line,
        ]
        workflows = [FloorPOWorkflow, FloorPartWorkflow, FloorTestWorkflow, FloorWaitingWorkflow]
        async with Worker(
            client, task_queue=QUEUE, workflows=workflows, activities=activities, workflow_runner=SANDBOX
        ):
            say_ready()
            await stop.wait()


async def run_gateway(settings: Settings) -> None:
    client = await connect(settings)
    stop = stop_requested()
    async with persistent_client(settings, "floor-gateway") as mqtt:
        await mqtt.subscribe(TOPIC, qos=1)
        say_ready()

        async def signal(message: aiomqtt.Message) -> None:
            await reach_part(client, json.loads(bytes(message.payload))["part_id"], "arrive")
            acknowledge(mqtt, message)

        async def hand_over() -> None:
            async with asyncio.TaskGroup() as group:
                async for message in mqtt.messages:
                    group.create_task(signal(message))

        handing = asyncio.create_task(hand_over())
        await stop.wait()
        handing.cancel()
        await asyncio.gather(handing, return_exceptions=True)


async def run_transfers(settings: Settings) -> None:
    client = await connect(settings)
    stop = stop_requested()
    async with Hubs(settings) as hubs:
        send = TransferActivities(*(cast("Any", None),) * 2, hubs).send
        async with Worker(
            client,
            task_queue=TRANSFERS,
            workflows=[FloorTransferWorkflow],
            activities=[send],
            workflow_runner=SANDBOX,
        ):
            say_ready()
            await stop.wait()


if __name__ == "__main__":
    run = {"worker": run_worker, "gateway": run_gateway, "transfers": run_transfers}[sys.argv[1]]
    asyncio.run(run(Settings()))
