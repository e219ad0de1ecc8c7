"""What a test asks outside its node: who is qualified, and what became of results that were not accepted."""

import asyncio
from typing import TYPE_CHECKING

from temporalio import activity

from schemas.signoff import QualificationAnswer, QualificationCheck
from schemas.test_execution import Disposed
from schemas.transfer import Disposition

if TYPE_CHECKING:
    from infra.personnel import Personnel
    from infra.transfer import Transfers


class TestExecutionActivities:
    """Reads the personnel register and the rows of transfers."""

    __test__ = False

    def __init__(self, personnel: "Personnel", transfers: "Transfers") -> None:
        self._personnel = personnel
        self._transfers = transfers

    @activity.defn
    async def check_qualification(self, check: QualificationCheck) -> QualificationAnswer:
        """As the register says it when it is asked."""
        return await asyncio.to_thread(self._personnel.check, check)

    @activity.defn
    async def read_disposition(self, disposed: Disposed) -> Disposition | None:
        """As it is recorded; None while there is none, whoever says that there is."""
        return await self._transfers.disposition(disposed.package_id)
