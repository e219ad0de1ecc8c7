"""What maintenance shows when it is counted, and the reviews that alerts gave reason for."""

import json
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.analytics import EVER
from api.equipment import standing_of
from api.house import House, TheHouse
from api.security import GuardedRoute, requires
from infra.database import Row
from infra.maintenance_analytics import compliance, maintenance_figures
from schemas import names
from schemas.approval import ApprovalType
from schemas.base import UtcDateTime
from schemas.maintenance_pattern import ReviewStatus
from schemas.permission import Permission

router = APIRouter(prefix="/api/v1", tags=["Maintenance"], route_class=GuardedRoute)

Since = Annotated[UtcDateTime, Query(description="what happened from then on")]
Until = Annotated[UtcDateTime, Query(description="and before then")]
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


class CalibrationFigures(BaseModel):
    """Instruments of one type that are at one node now, by the state of their calibration.

    `out_of_service` counts those that are, whatever their calibration. `compliance`: of the others, the share whose
    calibration is valid, which is current or expiring soon; null where there are no others.
    """

    node_id: str
    equipment_type: str
    instruments: int
    current: int
    expiring_soon: int
    expired: int
    pending_calibration: int
    out_of_service: int
    compliance: float | None


class Overdue(BaseModel):
    """An instrument in service whose calibration has expired, in whole days of its node."""

    equipment_id: str
    node_id: str
    due_on: date
    days_overdue: int


class CheckFigures(BaseModel):
    """How often a check of a contract was passed, and how often not."""

    contract_id: str
    check_type: str
    passed: int
    failed: int


class AlertFigures(BaseModel):
    """Alerts that named a contract, by when they happened; of how many nodes and instruments."""

    contract_id: str
    issue_type: str
    alerts: int
    nodes: int
    instruments: int


class ReviewFigures(BaseModel):
    """Reviews opened in the period. `undecided`: expired or cancelled; `decision_p50`: seconds from opening to end."""

    contract_id: str
    issue_type: str
    opened: int
    open: int
    accepted: int
    declined: int
    undecided: int
    drafts: int
    decision_p50: float | None


class DeploymentFigures(BaseModel):
    """One version on its way to nodes, begun in the period; acknowledgements in seconds from there."""

    contract_id: str
    version: str
    nodes: int
    acknowledged: int
    pending: int
    acknowledgement_p50: float | None
    acknowledgement_max: float | None


class OutOfService(BaseModel):
    """How often an instrument was out of service in the period, and how many seconds of it."""

    equipment_id: str
    times: int
    seconds: float


class MaintenanceAnalytics(BaseModel):
    """`calibration` and `overdue` are as of now, all else is of the period."""

    at: datetime
    calibration: list[CalibrationFigures]
    overdue: list[Overdue]
    checks: list[CheckFigures]
    alerts: list[AlertFigures]
    reviews: list[ReviewFigures]
    deployments: list[DeploymentFigures]
    out_of_service: list[OutOfService]


class ReviewResource(BaseModel):
    """One review: `proposed` is what it would change, with the alerts behind it; its approval answers it."""

    review_id: str
    review_type: ApprovalType
    contract_id: str
    version: str | None
    issue_type: str
    status: ReviewStatus
    alert_ids: list[str]
    node_ids: list[str]
    proposed: dict[str, Any]
    opened_at: datetime
    ended_at: datetime | None
    decided_by: str | None
    note: str | None
    draft_version: str | None
    links: dict[str, str]


class ReviewList(BaseModel):
    """A page of reviews, the newest first; `matching` says how many there are in all."""

    matching: int
    limit: int
    offset: int
    reviews: list[ReviewResource]


@router.get("/analytics/maintenance", tags=["Analytics"], dependencies=[requires(Permission.REPORT_VIEW)])
async def analytics(house: TheHouse, since: Since = EVER, until: Until = FOREVER) -> MaintenanceAnalytics:
    """Compliance of calibrations, what is overdue, checks, alerts, reviews, deployments and time out of service."""
    now = datetime.now(UTC)
    _, lines = await house.equipment.find()
    contracts = await house.equipment.contracts_in_force()
    found = [(line.item, standing_of(house, line, contracts.get(line.item.node_id, ()), now)) for line in lines]
    figures = await maintenance_figures(house.engine, since, until)
    return MaintenanceAnalytics.model_validate({"at": now, **compliance(found), **figures})


@router.get("/maintenance/reviews", dependencies=[requires(Permission.JOB_VIEW)])
async def reviews(
    house: TheHouse,
    status: ReviewStatus | None = None,
    contract_id: str | None = None,
    since: Since = EVER,
    until: Until = FOREVER,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> ReviewList:
    """Reviews that alerts gave reason for, by state and contract, opened in the period."""
    matching, rows = await house.reviews.page(
        status=status,
        contract_id=contract_id,
        since=since,
        until=until,
        limit=limit,
        offset=offset,
    )
    return ReviewList(matching=matching, limit=limit, offset=offset, reviews=[_resource(house, row) for row in rows])


def _resource(house: House, row: Row) -> ReviewResource:
    texts = {name: json.loads(row[name]) for name in ("alert_ids", "node_ids", "proposed")}
    pattern = names.maintenance_pattern_id(row["contract_id"], row["issue_type"])
    links = {
        "approval": f"/api/v1/approvals/{row['approval_id']}",
        "contract": f"/api/v1/maintenance/contracts/{row['contract_id']}",
        "temporal_ui": house.workflow_url(pattern),
    }
    return ReviewResource(**{**row, **texts, "version": row["version"] or None}, links=links)
