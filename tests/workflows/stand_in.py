"""Workflows that only wait, where a test is about what starts them; and what starts a reverse trace."""

from datetime import UTC, date, datetime
from typing import Any

from temporalio import workflow

from schemas.equipment import CalibrationRecord
from workflows.reverse_trace import start_trace


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


@workflow.defn
class FindsItBad:
    """What records failed calibrations, as far as their traces are concerned."""

    @workflow.run
    async def run(self, calibrations: list[CalibrationRecord]) -> None:
        for calibration in calibrations:
            await start_trace(calibration, date(2026, 1, 10), datetime(2026, 7, 2, 8, tzinfo=UTC))
