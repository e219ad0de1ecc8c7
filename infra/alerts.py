"""The outbox of alerts: rows that the broker does not have yet."""

from datetime import UTC, datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.tables import alerts
from schemas.alert import Alert


class AlertOutbox:
    """Read by the one process that publishes; written through the ledger's `record`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def waiting(self, limit: int = 100) -> list[tuple[Alert, datetime]]:
        """Alerts to publish with the time they were raised, oldest first."""
        query = select(alerts).where(alerts.c.published_at.is_(None)).order_by(alerts.c.raised_at).limit(limit)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [
            (Alert.model_validate({name: row[name] for name in Alert.model_fields}), row["raised_at"].astimezone(UTC))
            for row in rows
        ]

    async def published(self, alert_id: str) -> None:
        """The broker has it."""
        statement = update(alerts).where(alerts.c.alert_id == alert_id).values(published_at=func.now())
        async with self._engine.begin() as connection:
            await connection.execute(statement)
