"""Whether this process lives, and whether it can work; and its metrics."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from temporalio.service import RPCError

from api.house import TheHouse
from infra.telemetry import exposition

router = APIRouter(tags=["Health"])


@router.get("/health")
@router.get("/api/v1/health/ready")
async def ready(house: TheHouse) -> JSONResponse:
    """200 when the database and Temporal answer, else 503 with what does not."""
    parts = {"database": await _database(house), "temporal": await _temporal(house)}
    well = all(state == "ok" for state in parts.values())
    return JSONResponse({"status": "ok" if well else "away", **parts}, 200 if well else 503)


@router.get("/api/v1/health/live")
async def live() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "ok"}


@router.get("/metrics")
async def metrics(house: TheHouse) -> Response:
    """Prometheus text: OpenTelemetry instruments and the Temporal SDK's."""
    return Response(await exposition(house.sdk_metrics), media_type="text/plain; version=0.0.4")


async def _database(house: TheHouse) -> str:
    try:
        async with house.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError, TimeoutError):
        return "away"
    return "ok"


async def _temporal(house: TheHouse) -> str:
    try:
        well = await house.temporal.service_client.check_health()
    except RPCError:
        return "away"
    return "ok" if well else "away"
