"""An alert for a workflow that stands still, on a real dev server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from infra.alerts import Alerts
from infra.database import Row
from infra.embedded.temporal import Temporal
from infra.failing_tasks import PROBLEMS, FailingTasks
from infra.ledger import Ledger
from infra.settings import Settings
from infra.temporal import connect


class StrictTemporal(Temporal):
    """Marks a workflow after its second failed task, instead of the fifth."""

    def command(self) -> list[str | Path]:
        strict = "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=2"
        return [*super().command(), "--dynamic-config-value", strict]


@workflow.defn
class Patient:
    """What it will be when it is mended."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn(name="Patient")
class Broken:
    """A bug fails its task, not the workflow."""

    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("a bug")


@pytest_asyncio.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    server = StrictTemporal(tmp_path_factory.mktemp("strict"), report=print, durable=False, headless=True)
    await server.start()
    yield Settings(temporal_address=server.address)
    await server.stop()


@pytest_asyncio.fixture
async def client(server: Settings) -> Client:
    return await connect(server)


class Floor:
    """Workflows that stand still, and the alerts about them."""

    def __init__(self, client: Client, alerts: Alerts, look: Callable[[], Awaitable[None]]) -> None:
        self.client = client
        self.alerts = alerts
        self.look = look

    async def until(self, true: Callable[[list[Row]], bool]) -> list[Row]:
        """Looks, until this is so for all alerts."""
        found: list[Row] = []
        try:
            async with asyncio.timeout(60):
                while True:
                    await self.look()
                    found = (await self.alerts.page(limit=9, offset=0))[1]
                    if true(found):
                        return found
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pytest.fail(f"seen last: {found}")

    async def start(self, name: str) -> WorkflowHandle[Any, None]:
        second = timedelta(seconds=1)  # a task that failed comes again when the one before it has timed out
        return await self.client.start_workflow(Patient.run, id=name, task_queue=name, task_timeout=second)

    def worker(self, name: str, kind: type) -> Worker:
        return Worker(self.client, task_queue=name, workflows=[kind], workflow_runner=UnsandboxedWorkflowRunner())


@pytest.fixture
def alerts(engine: AsyncEngine) -> Alerts:
    return Alerts(engine)


@pytest.fixture
def floor(client: Client, alerts: Alerts, ledger: Ledger, server: Settings) -> Floor:
    return Floor(client, alerts, FailingTasks(client, alerts, ledger, server).look)


class TestAWorkflowWhoseTaskKeepsFailing:
    async def test_is_alerted_once_with_what_to_do_and_resolved_when_it_goes_again(self, floor: Floor) -> None:
        handle = await floor.start("W-1")
        async with floor.worker("W-1", Broken):
            [alert] = await floor.until(bool)
            await floor.look()
        assert (alert["subject"], alert["severity"], alert["count"]) == ("W-1", "critical", 1)
        assert "WorkflowTaskFailed" in alert["text"]
        assert "start a worker that is mended" in alert["text"]
        async with floor.worker("W-1", Patient):
            [alert] = await floor.until(lambda alerts: alerts[0]["state"] == "resolved")
        assert "goes on" in alert["resolved_note"]
        assert alert["count"] == 1
        await handle.terminate()

    async def test_again_after_it_was_mended_is_another_alert(self, floor: Floor) -> None:
        handle = await floor.start("W-5")
        async with floor.worker("W-5", Broken):
            await floor.until(bool)
        async with floor.worker("W-5", Patient):
            await floor.until(lambda alerts: alerts[0]["state"] == "resolved")
        await handle.signal("anything")  # gives it a task, which fails
        async with floor.worker("W-5", Broken):
            alerts = await floor.until(lambda alerts: len(alerts) > 1)
        assert [alert["state"] for alert in alerts] == ["raised", "resolved"]
        await handle.terminate()

    async def test_and_now_by_something_else_is_still_the_same_alert(
        self, database: Settings, ledger: Ledger, alerts: Alerts
    ) -> None:
        class Server:
            """One that says what it says."""

            def __init__(self, problem: str) -> None:
                self.problem = problem

            @property
            def execution(self) -> Any:
                return SimpleNamespace(
                    id="W-0",
                    run_id="R-0",
                    status=WorkflowExecutionStatus.RUNNING,
                    workflow_type="Patient",
                    typed_search_attributes=TypedSearchAttributes([SearchAttributePair(PROBLEMS, [self.problem])]),
                )

            async def list_workflows(self, _query: str) -> AsyncIterator[Any]:
                yield self.execution

            def get_workflow_handle(self, _workflow_id: str) -> Any:
                return self

            async def describe(self) -> Any:
                return self.execution

        for problem in ("cause=UnhandledFailure", "cause=NonDeterministicError"):
            server: Any = Server(problem)
            await FailingTasks(server, alerts, ledger, database).look()
        matching, _ = await alerts.page(limit=9, offset=0)
        assert matching == 1

    async def test_is_no_longer_alerted_once_it_has_ended(self, floor: Floor) -> None:
        handle = await floor.start("W-2")
        async with floor.worker("W-2", Broken):
            await floor.until(bool)
        await handle.terminate()
        [alert] = await floor.until(lambda alerts: alerts[0]["state"] == "resolved")
        assert "ended" in alert["resolved_note"]

    async def test_that_merely_waits_for_a_worker_is_not_alerted(self, floor: Floor) -> None:
        waiting = await floor.start("W-3")
        failing = await floor.start("W-4")
        async with floor.worker("W-4", Broken):
            alerts = await floor.until(bool)
        assert [alert["subject"] for alert in alerts] == ["W-4"]
        await waiting.terminate()
        await failing.terminate()
