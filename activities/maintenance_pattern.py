"""What a pattern of alerts needs to know of its contract."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.maintenance_pattern import ContractAsked, ContractExecuted, EntryAsked, PatternAsked, PatternLife

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

    @activity.defn
    async def read_life(self, asked: PatternAsked) -> PatternLife:
        """What was counted before, and the review that is open: also those of a workflow that was closed."""
        return await self._reviews.life(asked)

    @activity.defn
    async def is_received(self, asked: EntryAsked) -> bool:
        """Whether an alert was written down before, also so long ago that its pattern has forgotten it."""
        return await self._reviews.is_received(asked.key)
