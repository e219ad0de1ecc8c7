"""Analytics, counted from the ledger."""

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.house import TheHouse
from api.security import GuardedRoute, requires
from infra.analytics import staging_analytics
from schemas.base import UtcDateTime
from schemas.permission import Permission

router = APIRouter(prefix="/api/v1/analytics", tags=["Analytics"], route_class=GuardedRoute)


class StagingFigures(BaseModel):
    """Of the POs staged in the period; waiting times in seconds, None where nothing was measured."""

    staged: int
    queue_length: int
    confirmed: int
    released: int
    cancelled: int
    release_failures: int
    confirmation_rate: float | None
    part_wait_p50: float | None
    part_wait_p95: float | None
    release_p50: float | None
    release_p95: float | None


class NodeAndDay(StagingFigures):
    """The figures of one node for the POs staged on one day (UTC)."""

    node: str
    day: date


class Broadcasts(BaseModel):
    """What became of the broadcasts; `match_accuracy` is the share of confirmations never taken back."""

    received: int
    unmatched: int
    duplicates: int
    tracking: int
    refused: int
    malformed: int
    match_accuracy: float | None


class StagingAnalytics(BaseModel):
    """The specification's staging, arrival and release analytics."""

    total: StagingFigures
    broadcasts: Broadcasts
    by_node_and_day: list[NodeAndDay]


@router.get("/staging", dependencies=[requires(Permission.REPORT_VIEW)])
async def staging(
    house: TheHouse,
    since: Annotated[UtcDateTime, Query(description="entries recorded from then on")] = datetime(
        2000, 1, 1, tzinfo=UTC
    ),
) -> StagingAnalytics:
    """Queue length, waiting times, confirmation rate, broadcasts; per node and day."""
    return StagingAnalytics.model_validate(await staging_analytics(house.engine, since))
