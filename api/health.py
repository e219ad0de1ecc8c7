"""Whether this process lives, and whether it can work; and its metrics."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from temporalio.service import RPCError

from api.house import TheHouse
from infra.telemetry import exposition

router = APIRouter(tags=["Health"])

State = Literal["ok", "away"]


class Readiness(BaseModel):
    """`status` is ok when all parts are."""

    status: State
    database: State
    temporal: State


AWAY: dict[int | str, dict[str, Any]] = {503: {"model": Readiness, "description": "What is away"}}


@router.get("/health", responses=AWAY)
@router.get("/api/v1/health/ready", responses=AWAY)
async def ready(house: TheHouse, response: Response) -> Readiness:
    """200 when the database and Temporal answer, else 503 with what does not."""
    parts: dict[str, State] = {"database": await _database(house), "temporal": await _temporal(house)}
    well = all(state == "ok" for state in parts.values())
    response.status_code = 200 if well else 503
    return Readiness(status="ok" if well else "away", **parts)


@router.get("/api/v1/health/live")
async def live() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "ok"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(house: TheHouse) -> PlainTextResponse:
    """Prometheus text: OpenTelemetry instruments and the Temporal SDK's."""
    return PlainTextResponse(await exposition(house.sdk_metrics), media_type="text/plain; version=0.0.4")


async def _database(house: TheHouse) -> State:
    try:
        async with house.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError, TimeoutError):
        return "away"
    return "ok"


async def _temporal(house: TheHouse) -> State:
    try:
        well = await house.temporal.service_client.check_health()
    except RPCError:
        return "away"
    return "ok" if well else "away"
