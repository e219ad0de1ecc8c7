"""What a pattern of alerts needs to know of its contract."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.maintenance_pattern import ContractAsked, ContractExecuted

if TYPE_CHECKING:
    from infra.maintenance_alerts import MaintenanceReviews


class MaintenancePatternActivities:
    """Activities of the hub; none of them reaches into a node."""

    def __init__(self, reviews: "MaintenanceReviews") -> None:
        self._reviews = reviews

    @activity.defn
    async def read_executed(self, asked: ContractAsked) -> ContractExecuted | None:
        """The version that nodes execute; None where there is none."""
        return await self._reviews.executed(asked.contract_id)
