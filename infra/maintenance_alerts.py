"""Alerts that teach: the door to the workflow that counts them, and the rows of the reviews that they opened."""

import json
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from infra.client_po import Row
from infra.tables import maintenance_contracts, maintenance_reviews
from infra.temporal import RPC_TIMEOUT, STATUS
from schemas import names
from schemas.maintenance import ContractStatus
from schemas.maintenance_alert import TeachingAlert
from schemas.maintenance_pattern import COUNTING, ContractExecuted, PatternStart


class MaintenancePatterns:
    """Reaches the `MaintenancePatternWorkflow` of an alert, started if need be."""

    def __init__(self, client: Client, window: timedelta) -> None:
        self._client = client
        self._window = window

    async def report(self, alert: TeachingAlert) -> str:
        """Hands an alert over; returns the workflow ID once Temporal has accepted it."""
        start = PatternStart(
            contract_id=alert.contract_id,
            issue_type=alert.issue_type,
            window_seconds=int(self._window.total_seconds()),
        )
        handle: WorkflowHandle[None, None] = await self._client.start_workflow(
            "MaintenancePatternWorkflow",
            start,
            id=alert.workflow_id,
            task_queue=names.MAIN_QUEUE,
            start_signal=names.ALERT_RECEIVED,
            start_signal_args=[alert],
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            search_attributes=TypedSearchAttributes([SearchAttributePair(STATUS, COUNTING)]),
            static_summary=f"What {alert.issue_type} teaches about {alert.contract_id}"[:200],
            rpc_timeout=RPC_TIMEOUT,
        )
        return handle.id


EXECUTED = (ContractStatus.DEPLOYED, ContractStatus.ACTIVE, ContractStatus.MONITORING)


class MaintenanceReviews:
    """What people list and look at; written only through the ledger's `record`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def executed(self, contract_id: str) -> ContractExecuted | None:
        """The newest version that nodes execute, or are about to."""
        query = (
            select(maintenance_contracts.c.version, maintenance_contracts.c.document)
            .where(maintenance_contracts.c.contract_id == contract_id, maintenance_contracts.c.status.in_(EXECUTED))
            .order_by(maintenance_contracts.c.created_at.desc())
            .limit(1)
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).first()
        return ContractExecuted(version=row.version, document=json.loads(row.document)) if row else None

    async def page(
        self,
        *,
        status: str | None = None,
        contract_id: str | None = None,
        since: datetime,
        until: datetime,
        limit: int,
        offset: int,
    ) -> tuple[int, list[Row]]:
        """One page of those opened in the period, the newest first, and how many match in all."""
        opened = maintenance_reviews.c.opened_at
        wanted = {maintenance_reviews.c.status: status, maintenance_reviews.c.contract_id: contract_id}
        conditions = [opened >= since, opened < until]
        conditions += [column == value for column, value in wanted.items() if value is not None]
        page = (
            select(maintenance_reviews)
            .where(*conditions)
            .order_by(opened.desc(), maintenance_reviews.c.review_id)
            .limit(limit)
            .offset(offset)
        )
        async with self._engine.connect() as connection:
            total = await connection.scalar(select(func.count()).select_from(maintenance_reviews).where(*conditions))
            rows = (await connection.execute(page)).mappings().all()
        return total or 0, [dict(row) for row in rows]
