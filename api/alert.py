"""Alerts over HTTP: what is open, whose it is, and who has seen it."""

from contextlib import suppress
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from api.house import House, TheHouse
from api.problems import not_found
from api.security import GuardedRoute, requires
from api.updates import refused
from infra.alerts import acknowledgement, resolution
from infra.database import Row
from infra.ledger import LedgerConflict
from schemas.alert import AlertState, Severity
from schemas.base import Model, Text
from schemas.identity import Identity
from schemas.permission import Permission, Role

router = APIRouter(prefix="/api/v1/alerts", tags=["Alerts"], route_class=GuardedRoute)

Number = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Step(BaseModel):
    """Who did it, when, and the number of the ledger entry that says so."""

    at: datetime
    by: str
    note: str | None
    ledger_entry: int | None

    @classmethod
    def read(cls, row: Row, name: str) -> Self | None:
        """The step of that name, where the alert has come so far."""
        if row[f"{name}_at"] is None:
            return None
        return cls(
            at=row[f"{name}_at"],
            by=row[f"{name}_by"],
            note=row[f"{name}_note"],
            ledger_entry=row[f"{name}_entry"],
        )


class AlertResource(BaseModel):
    """An alert as everybody sees it; `count` is how often its cause was reported."""

    id: int
    alert_id: str
    alert_type: str
    severity: Severity
    source: str
    subject: str
    text: str
    cause: str
    state: AlertState
    owner: Role
    owner_since: datetime
    escalations: int
    count: int
    raised_at: datetime
    last_seen: datetime
    raised_entry: int | None
    acknowledged: Step | None
    resolved: Step | None
    links: dict[str, str]


class Delivery(BaseModel):
    """What one receiver was to be told; not delivered and without a next attempt: it was given up."""

    receiver: str
    event: str
    occurred_at: datetime
    attempts: int
    delivered_at: datetime | None
    next_attempt_at: datetime | None
    error: str | None


class AlertDetail(AlertResource):
    """An alert and who was told of it."""

    deliveries: list[Delivery]


class AlertPage(BaseModel):
    """A page of alerts, the newest first."""

    matching: int
    limit: int
    offset: int
    alerts: list[AlertResource]


class Acknowledgement(Model):
    """Says that somebody has seen it, and what is done about it."""

    note: Text | None = None


class Resolution(Model):
    """Says how somebody knows."""

    note: Text


@router.get("", dependencies=[requires(Permission.ALERT_VIEW)])
async def alerts(
    house: TheHouse,
    open: Annotated[bool | None, Query(description="true: not resolved; false: resolved")] = None,  # noqa: A002
    state: AlertState | None = None,
    severity: Severity | None = None,
    owner: Role | None = None,
    subject: str | None = None,
    type: str | None = None,  # noqa: A002
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> AlertPage:
    """The newest first, those that all filters leave."""
    states = [
        found for found in AlertState if state in {None, found} and open in {None, found is not AlertState.RESOLVED}
    ]
    matching, rows = await house.alerts.page(
        states=states,
        severity=severity,
        owner=owner,
        subject=subject,
        alert_type=type,
        limit=limit,
        offset=offset,
    )
    return AlertPage(matching=matching, limit=limit, offset=offset, alerts=[_resource(row) for row in rows])


@router.get("/{id}", dependencies=[requires(Permission.ALERT_VIEW)])
async def show(id: Number, house: TheHouse) -> AlertDetail:  # noqa: A002
    """Its life, and who was told of it."""
    row = await _row(house, id)
    deliveries = [Delivery(**delivery) for delivery in await house.alerts.deliveries(row["alert_id"])]
    return AlertDetail(**_resource(row).model_dump(), deliveries=deliveries)


@router.post("/{id}/acknowledge")
async def acknowledge(
    id: Number,  # noqa: A002
    request: Acknowledgement,
    house: TheHouse,
    who: Annotated[Identity, requires(Permission.ALERT_ACKNOWLEDGE)],
) -> AlertResource:
    """Take it on: it escalates no further. Where its cause does not last, this ends it; the first to say so counts."""
    row = await _row(house, id)
    if row["acknowledged_by"] is None:
        if row["state"] == AlertState.RESOLVED:
            raise refused(f"alert {id} is resolved: {row['resolved_note']}")
        with suppress(LedgerConflict):  # somebody was faster: the row says who
            await house.ledger.record(acknowledgement(row, who.user_id, request.note))
        row = await _row(house, id)
    if row["acknowledged_by"] != who.user_id:
        raise refused(f"alert {id} was acknowledged by {row['acknowledged_by']}")
    return _resource(row)


@router.post("/{id}/resolve")
async def resolve(
    id: Number,  # noqa: A002
    request: Resolution,
    house: TheHouse,
    who: Annotated[Identity, requires(Permission.ALERT_ACKNOWLEDGE)],
) -> AlertResource:
    """Say that its cause is gone, where nothing else can: whatever would have resolved it was closed from outside."""
    row = await _row(house, id)
    if row["state"] != AlertState.RESOLVED:
        with suppress(LedgerConflict):  # somebody was faster: the row says who
            await house.ledger.record(resolution(row, request.note, who.user_id))
        row = await _row(house, id)
    return _resource(row)


async def _row(house: House, number: int) -> Row:
    row = await house.alerts.get(number)
    if row is None:
        raise not_found(f"alert {number}")
    return row


def _resource(row: Row) -> AlertResource:
    return AlertResource(
        **{name: row[name] for name in AlertResource.model_fields if name in row},
        id=row["number"],
        acknowledged=Step.read(row, "acknowledged"),
        resolved=Step.read(row, "resolved"),
        links={"self": f"/api/v1/alerts/{row['number']}"},
    )
