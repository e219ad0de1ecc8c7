"""Workflows that do what no workflow of the product may do, to see that the tests would notice."""

import asyncio
from typing import Any

from temporalio import workflow


@workflow.defn(name="ClientPOWorkflow")
class ImpatientWorkflow:
    """Does something else first than what its histories say."""

    @workflow.run
    async def run(self, start: Any) -> None:
        await workflow.sleep(1)


@workflow.defn
class CarelessWorkflow:
    """Ends while a handler is still at work."""

    def __init__(self) -> None:
        self.signalled = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.signalled)

    @workflow.signal
    async def hold(self) -> None:
        self.signalled = True
        await asyncio.sleep(3600)
