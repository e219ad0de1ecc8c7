"""Workflows that were started before a change go on after it: the recorded histories still replay.

Where one does not, the change needs `workflow.patched()`; see `tests/histories/record.py`.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, Worker

from tests.histories import record
from tests.workflows.misbehaving import CarelessWorkflow, ImpatientWorkflow
from tests.workflows.shop import Shop, happened
from workers.worker import SANDBOX, WORKFLOWS

HISTORIES = sorted(record.HERE.glob("*.json"))
TYPES = {type_.__name__: type_ for type_ in WORKFLOWS}


def read(file: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(file.stem, file.read_text())


def type_of(file: Path) -> str:
    return file.name.split(".")[1]


def replayer(*workflows: type) -> Replayer:
    return Replayer(workflows=workflows, workflow_runner=SANDBOX, data_converter=pydantic_data_converter)


class TestEveryRecordedHistory:
    @pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
    async def test_replays(self, file: Path) -> None:
        await replayer(TYPES[type_of(file)]).replay_workflow(read(file))

    def test_is_of_a_scene_and_every_scene_has_one(self) -> None:
        assert {file.name.split(".")[0] for file in HISTORIES} == {scene.__name__ for scene in record.ALL}

    def test_together_are_of_all_workflows_but_the_reconcile(self) -> None:
        assert {type_of(file) for file in HISTORIES} == TYPES.keys() - {"ReconcileWorkflow"}


class TestTheTestsBite:
    @pytest.mark.parametrize("file", [file for file in HISTORIES if ".ClientPOWorkflow." in file.name][:3])
    async def test_a_changed_workflow_does_not_replay(self, file: Path) -> None:
        with pytest.raises(workflow.NondeterminismError):
            await replayer(ImpatientWorkflow).replay_workflow(read(file))

    async def test_a_workflow_that_leaves_somebody_without_an_answer_is_stuck(self, shop: Shop) -> None:
        async with Worker(shop.client, task_queue="careless", workflows=[CarelessWorkflow], workflow_runner=SANDBOX):
            handle = await shop.client.start_workflow(
                CarelessWorkflow.run,
                id=f"careless/{shop.name}",
                task_queue="careless",
                task_timeout=timedelta(seconds=1),  # the failure is told with the next attempt
            )
            await handle.signal("hold")
            await happened(handle, "WORKFLOW_TASK_FAILED")
            await handle.terminate()
