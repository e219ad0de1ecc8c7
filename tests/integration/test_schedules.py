"""What begins by itself, on a real Temporal server."""

from collections.abc import AsyncIterator
from unittest.mock import AsyncMock, patch
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleOverlapPolicy,
    WorkflowExecutionStatus,
    WorkflowHandle,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities.ledger import LedgerActivities
from infra.ledger import Ledger
from infra.registry import Registry
from infra.temporal import workflow_status
from schemas import names
from schemas.node import Node
from tests.acceptance.floor import until
from workers.schedules import schedule_watches
from workers.worker import SANDBOX
from workflows.node_watch import NodeWatchWorkflow


class Watches:
    """Of nodes of the test's own; other tests' schedules are left alone only while nobody else makes any."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.name = uuid4().hex[:8]

    def node(self, number: int, time_zone: str = "UTC") -> Node:
        return Node(node_id=f"N{number}-{self.name}", station_type="LP", name="cell", time_zone=time_zone)

    async def make(self, *nodes: Node) -> None:
        await schedule_watches(self.client, Registry(nodes=nodes))

    async def listed(self) -> set[str]:
        return {one.id async for one in await self.client.list_schedules() if self.name in one.id}


@pytest_asyncio.fixture
async def watches(client: Client) -> AsyncIterator[Watches]:
    watches = Watches(client)
    yield watches
    for watch in await watches.listed():
        await client.get_schedule_handle(watch).delete()


class TestTheWatches:
    async def test_begin_at_six_on_the_clock_of_each_node(self, watches: Watches) -> None:
        await watches.make(watches.node(1, "Asia/Tokyo"), watches.node(2, "America/New_York"))
        for number, hours in ((1, {21}), (2, {10, 11})):
            handle = watches.client.get_schedule_handle(names.node_watch_id(watches.node(number).node_id))
            described = await handle.describe()
            assert {at.hour for at in described.info.next_action_times} <= hours
            assert {at.minute for at in described.info.next_action_times} == {0}
            assert described.schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
            assert described.info.recent_actions == []

    async def test_follow_the_registry(self, watches: Watches) -> None:
        await watches.make(watches.node(1), watches.node(2))
        await until(watches.listed, lambda found: len(found) == 2)
        await watches.make(watches.node(2, "Asia/Tokyo"), watches.node(3))
        wanted = {names.node_watch_id(watches.node(number).node_id) for number in (2, 3)}
        await until(watches.listed, lambda found: found == wanted)
        moved = await watches.client.get_schedule_handle(names.node_watch_id(watches.node(2).node_id)).describe()
        assert {at.hour for at in moved.info.next_action_times} == {21}

    async def test_of_a_node_that_has_left_the_registry_ends_with_the_one_that_still_waits_for_it(
        self, watches: Watches, ledger: Ledger
    ) -> None:
        gone = names.node_watch_id(watches.node(1).node_id)
        await watches.make(watches.node(1), watches.node(2))
        schedule = watches.client.get_schedule_handle(gone)
        await schedule.trigger()

        async def under_way() -> list[str]:
            running = (await schedule.describe()).info.running_actions
            return [one.workflow_id for one in running if isinstance(one, ScheduleActionExecutionStartWorkflow)]

        [waiting] = await until(under_way, bool)
        async with Worker(
            watches.client,
            task_queue=names.MAIN_QUEUE,
            workflows=[NodeWatchWorkflow],
            activities=[LedgerActivities(ledger).record],
            workflow_runner=SANDBOX,
        ):
            await watches.make(watches.node(2))
            await until(
                lambda: workflow_status(watches.client, waiting),
                lambda status: status is WorkflowExecutionStatus.CANCELED,
            )
        await until(watches.listed, lambda found: found == {names.node_watch_id(watches.node(2).node_id)})

    async def test_of_a_node_that_has_left_stays_until_the_one_that_waits_is_cancelled(self, watches: Watches) -> None:
        """Without the Schedule nobody would find it again."""
        gone = names.node_watch_id(watches.node(1).node_id)
        await watches.make(watches.node(1), watches.node(2))
        schedule = watches.client.get_schedule_handle(gone)
        await schedule.trigger()
        await until(schedule.describe, lambda found: found.info.running_actions != [])
        away = RPCError("Temporal is away", RPCStatusCode.UNAVAILABLE, b"")
        await until(watches.listed, lambda found: gone in found)
        with patch.object(WorkflowHandle, "cancel", AsyncMock(side_effect=away)), pytest.raises(RPCError):
            await watches.make(watches.node(2))
        [waiting] = (await schedule.describe()).info.running_actions
        assert isinstance(waiting, ScheduleActionExecutionStartWorkflow)
        await watches.client.get_workflow_handle(waiting.workflow_id).terminate()

    async def test_that_an_operator_has_paused_stays_so(self, watches: Watches) -> None:
        await watches.make(watches.node(1))
        schedule = watches.client.get_schedule_handle(names.node_watch_id(watches.node(1).node_id))
        await schedule.pause(note="the cell is rebuilt")
        await watches.make(watches.node(1, "Asia/Tokyo"))
        described = await schedule.describe()
        assert (described.schedule.state.paused, described.schedule.state.note) == (True, "the cell is rebuilt")
        assert described.schedule.spec.time_zone_name == "Asia/Tokyo"

    async def test_of_a_node_are_never_two_at_a_time(self, watches: Watches) -> None:
        node = watches.node(1)
        await watches.make(node)
        handle = watches.client.get_schedule_handle(names.node_watch_id(node.node_id))

        async def skipped() -> int:
            await handle.trigger()
            return (await handle.describe()).info.num_actions_skipped_overlap

        await until(skipped, lambda found: found >= 2)
        [running] = (await handle.describe()).info.running_actions
        assert isinstance(running, ScheduleActionExecutionStartWorkflow)
        await watches.client.get_workflow_handle(running.workflow_id).terminate()
