"""Reaching the workflow that matches a part's arrivals with the POs that wait for it."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.part_arrival import Held
from schemas.part_line import JoinLine, LineRef

if TYPE_CHECKING:
    from infra.temporal import PartArrivals


class PartArrivalActivities:
    """The PO's side of the matching; arrivals come through the gateway and the API."""

    def __init__(self, part_arrivals: "PartArrivals") -> None:
        self._part_arrivals = part_arrivals

    @activity.defn
    async def join_line(self, join: JoinLine) -> None:
        """Puts a PO into its part's line; the same ticket again changes nothing."""
        await self._part_arrivals.join(join)

    @activity.defn
    async def read_held(self, asked: LineRef) -> Held | None:
        """What the line has given to a PO; None where that is nothing, whoever says otherwise."""
        return await self._part_arrivals.held(asked)
