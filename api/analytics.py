"""Analytics, counted from the ledger and from what people list."""

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.house import TheHouse
from api.security import GuardedRoute, requires
from infra.analytics import staging_analytics, transfer_analytics
from schemas.base import UtcDateTime
from schemas.permission import Permission
from schemas.transfer import Destination

router = APIRouter(prefix="/api/v1/analytics", tags=["Analytics"], route_class=GuardedRoute)

Since = Annotated[UtcDateTime, Query(description="entries recorded from then on")]
EVER = datetime(2000, 1, 1, tzinfo=UTC)


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


class AuthorizationFigures(BaseModel):
    """What became of authorizations; durations in seconds.

    `authorized`: packages that a Guardian issued and this system knows; `received`: those that the Gatekeeper admitted;
    `refused`: how often it refused one, for whatever was sent; `success_rate`: received of received and refused;
    `fully_complete`: both transfers done. `authorization`: from the last sign-off to the Guardian's signature,
    `validation`: from there to the Gatekeeper's admission.
    """

    authorized: int
    received: int
    refused: int
    success_rate: float | None
    fully_complete: int
    authorization_p50: float | None
    authorization_p95: float | None
    validation_p50: float | None
    validation_p95: float | None


class DestinationFigures(BaseModel):
    """The legs to one destination; those that are not applicable do not count.

    `completion_rate`: complete of all legs. `receipt`: seconds from the admission of the package to the leg's receipt
    (not measured for the Business Hub, which is told after the vault). `attempts` are all, `failed_attempts` those
    whose outcome in the ledger is none. `troubled`: legs that their first attempt did not complete; of these
    `cured_by_retries` were completed without a person, `cured_by_operator` after one was called, and `waiting` are
    those for which one is awaited now. `retry_effectiveness`: cured by retries, of those and all for which a person was
    called.
    """

    destination: Destination
    legs: int
    complete: int
    completion_rate: float | None
    receipt_p50: float | None
    receipt_p95: float | None
    attempts: int
    failed_attempts: int
    troubled: int
    cured_by_retries: int
    cured_by_operator: int
    waiting: int
    retry_effectiveness: float | None


class NonconformanceFigures(BaseModel):
    """Results that were not accepted, by what was decided; `decision_p50`: seconds from opening to disposition."""

    open: int
    decided: int
    use_as_is: int
    rework: int
    scrap: int
    return_to_client: int
    decision_p50: float | None


class TransferAnalytics(BaseModel):
    """The specification's transfer tracking, of what was opened in the period."""

    authorizations: AuthorizationFigures
    destinations: list[DestinationFigures]
    nonconformances: NonconformanceFigures


@router.get("/staging", dependencies=[requires(Permission.REPORT_VIEW)])
async def staging(
    house: TheHouse,
    since: Since = EVER,
) -> StagingAnalytics:
    """Queue length, waiting times, confirmation rate, broadcasts; per node and day."""
    return StagingAnalytics.model_validate(await staging_analytics(house.engine, since))


@router.get("/transfers", dependencies=[requires(Permission.REPORT_VIEW)])
async def transfers(house: TheHouse, since: Since = EVER) -> TransferAnalytics:
    """Authorizations, completion and retries for each destination, and what became of results not accepted."""
    return TransferAnalytics.model_validate(await transfer_analytics(house.engine, since))
