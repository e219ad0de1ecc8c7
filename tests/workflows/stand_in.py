"""Workflows that only wait, where a test is about what starts them."""

from typing import Any

from temporalio import workflow


@workflow.defn(name="TransferWorkflow")
class WaitingTransfer:
    """Started with a package, and never done."""

    @workflow.run
    async def run(self, start: dict[str, Any]) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn(name="ReverseTraceWorkflow")
class WaitingTrace:
    """Started with a calibration, and never done."""

    @workflow.run
    async def run(self, start: dict[str, Any]) -> None:
        await workflow.wait_condition(lambda: False)
