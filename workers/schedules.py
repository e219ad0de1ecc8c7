"""What begins by itself, at its time: Temporal Schedules, made as the main worker starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from infra.registry import Registry, load_registry
from infra.settings import Settings
from infra.temporal import NODE
from schemas import names
from schemas.node import Node
from schemas.node_watch import HOUR, WatchStart
from workflows.node_watch import NodeWatchWorkflow
from workflows.reconcile import ReconcileWorkflow

MADE_UP = timedelta(days=1)
"""A watch that Temporal missed is made up for within this time; of several, the last says all."""


async def schedule_all(client: Client, settings: Settings) -> None:
    """The reconcile, and the watch of each node of the registry."""
    await schedule_reconcile(client, settings)
    await schedule_watches(client, load_registry(settings.nodes_file))


async def schedule_reconcile(client: Client, settings: Settings) -> None:
    """The reconcile runs at its interval, and once now: whatever was down may have left something."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(ReconcileWorkflow.run, id=names.RECONCILE_ID, task_queue=names.MAIN_QUEUE),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=settings.reconcile_every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )
    await _keep(client, names.RECONCILE_ID, schedule)
    await client.get_schedule_handle(names.RECONCILE_ID).trigger(overlap=ScheduleOverlapPolicy.SKIP)


async def schedule_watches(client: Client, registry: Registry) -> None:
    """Each morning of each node; those of nodes that are gone from the registry end."""
    wanted = {names.node_watch_id(node.node_id): _watch(node) for node in registry.nodes}
    for watch, schedule in wanted.items():
        await _keep(client, watch, schedule)
    async for listed in await client.list_schedules():
        if listed.id.startswith(names.node_watch_id("")) and listed.id not in wanted:
            await _end(client, listed.id)


async def _end(client: Client, watch: str) -> None:
    """With the watch that still waits for the node; the Schedule last, by which it is found again."""
    schedule = client.get_schedule_handle(watch)
    with _unless_over():
        for action in (await schedule.describe()).info.running_actions:
            if isinstance(action, ScheduleActionExecutionStartWorkflow):
                with _unless_over():
                    await client.get_workflow_handle(action.workflow_id).cancel()
        await schedule.delete()


@contextmanager
def _unless_over() -> Iterator[None]:
    """What has ended a moment before, or was ended by somebody else, is left as it is."""
    try:
        yield
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


def _watch(node: Node) -> Schedule:
    """A watch that waits for its node is the only one."""
    watch = names.node_watch_id(node.node_id)
    return Schedule(
        action=ScheduleActionStartWorkflow(
            NodeWatchWorkflow.run,
            WatchStart(node_id=node.node_id),
            id=watch,
            task_queue=names.MAIN_QUEUE,
            typed_search_attributes=TypedSearchAttributes([SearchAttributePair(NODE, node.node_id)]),
            static_summary=f"Calibrations of {node.node_id}",
        ),
        spec=ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(HOUR)])], time_zone_name=node.time_zone),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=MADE_UP),
    )


async def _keep(client: Client, schedule_id: str, schedule: Schedule) -> None:
    """Makes it, or makes it what it is now; one that an operator has paused stays so."""

    def as_now(before: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(replace(schedule, state=before.description.schedule.state))

    try:
        await client.create_schedule(schedule_id, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(schedule_id).update(as_now)
