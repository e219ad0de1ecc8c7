"""Alerts that teach: the door to the workflow that counts them, and the rows of the reviews that they opened."""

import json
from datetime import datetime, timedelta

from sqlalchemy import or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from infra.database import Row, many, one, page, rows
from infra.maintenance import MaintenanceContracts
from infra.tables.ledger import ledger_entries
from infra.tables.maintenance import maintenance_contracts
from infra.tables.maintenance_pattern import maintenance_alerts, maintenance_reviews
from infra.temporal import RPC_TIMEOUT, STATUS
from schemas import names
from schemas.maintenance import IN_FORCE
from schemas.maintenance_alert import TeachingAlert
from schemas.maintenance_pattern import (
    COUNTING,
    KNOWN,
    WAITING,
    ContractExecuted,
    Finding,
    PatternAsked,
    PatternLife,
    PatternStart,
    Proposal,
    Review,
    ReviewStatus,
    digest,
    taught,
)
from schemas.maintenance_version import ContractChange


class MaintenancePatterns:
    """Reaches the `MaintenancePatternWorkflow` of an alert, started if need be."""

    def __init__(self, client: Client, window: timedelta, contracts: MaintenanceContracts) -> None:
        self._client = client
        self._window = window
        self._contracts = contracts

    async def report(self, alert: TeachingAlert) -> str | None:
        """Hands an alert over; returns the workflow ID once Temporal has accepted it.

        None where the hub never made the contract that it names: other houses have contracts of their own.
        """
        if not await self._contracts.knows(alert.contract_id):
            return None
        return await self.start(alert.contract_id, alert.issue_type, alert)

    async def start(self, contract_id: str, issue_type: str, alert: TeachingAlert | None = None) -> str:
        """Has it go on with what is recorded, where it is not open; told of an alert in the same step."""
        start = PatternStart(
            contract_id=contract_id, issue_type=issue_type, window_seconds=int(self._window.total_seconds())
        )
        handle: WorkflowHandle[None, None] = await self._client.start_workflow(
            "MaintenancePatternWorkflow",
            start,
            id=names.maintenance_pattern_id(contract_id, issue_type),
            task_queue=names.MAIN_QUEUE,
            start_signal=names.ALERT_RECEIVED if alert else None,
            start_signal_args=[alert] if alert else [],
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            search_attributes=TypedSearchAttributes([SearchAttributePair(STATUS, COUNTING)]),
            static_summary=f"What {issue_type} teaches about {contract_id}"[:200],
            rpc_timeout=RPC_TIMEOUT,
        )
        return handle.id


class MaintenanceReviews:
    """What people list and look at; written only through the ledger's `record`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def executed(self, contract_id: str) -> ContractExecuted | None:
        """The newest version that nodes execute, or are about to."""
        query = (
            select(maintenance_contracts.c.version, maintenance_contracts.c.document)
            .where(maintenance_contracts.c.contract_id == contract_id, maintenance_contracts.c.status.in_(IN_FORCE))
            .order_by(maintenance_contracts.c.created_at.desc())
        )
        row = await one(self._engine, query)
        return ContractExecuted(version=row["version"], document=json.loads(row["document"])) if row else None

    async def is_received(self, key: str) -> bool:
        """Whether the alert of this entry is recorded."""
        query = select(ledger_entries.c.seq).where(ledger_entries.c.idempotency_key == key)
        return await one(self._engine, query) is not None

    async def life(self, asked: PatternAsked) -> PatternLife:
        """What rows know of a pattern: its alerts, which of them wait for a review, and the review that is open."""
        window, of = timedelta(seconds=asked.window_seconds), (asked.contract_id, asked.issue_type)
        told, reviewed = maintenance_alerts.c, maintenance_reviews.c
        newest = (
            select(maintenance_alerts)
            .where(tuple_(told.contract_id, told.issue_type) == of, told.occurred_at >= asked.at - 2 * window)
            .order_by(told.occurred_at.desc(), told.alert_id)
            .limit(KNOWN)
        )
        # What an older review used has happened before it was opened, and counts no more.
        counts = or_(reviewed.status == ReviewStatus.OPEN, reviewed.opened_at >= asked.at - 2 * window)
        reviews = select(maintenance_reviews).where(tuple_(reviewed.contract_id, reviewed.issue_type) == of, counts)
        async with self._engine.connect() as connection:
            alerts = await rows(connection, newest)
            asked_for = await rows(connection, reviews)
            used = {alert_id for row in asked_for for alert_id in json.loads(row["alert_ids"])}
            open_ = next((row for row in asked_for if row["status"] == ReviewStatus.OPEN), None)
            its_own = told.alert_id.in_(json.loads(open_["alert_ids"]) if open_ else [])
            behind = await rows(connection, select(maintenance_alerts).where(its_own))
        in_time = (row for row in alerts if row["received_at"] - row["occurred_at"] <= window)
        waiting = [_alert(row) for row in in_time if row["alert_id"] not in used]
        return PatternLife(
            waiting=waiting[:WAITING][::-1],
            known={digest(row["alert_id"]): row["occurred_at"] for row in alerts},
            review=_review(open_, behind) if open_ else None,
        )

    async def open(self) -> list[Row]:
        """Reviews that wait for their answer."""
        query = select(maintenance_reviews).where(maintenance_reviews.c.status == ReviewStatus.OPEN)
        return await many(self._engine, query.order_by(maintenance_reviews.c.review_id))

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
        order = (opened.desc(), maintenance_reviews.c.review_id)
        query = select(maintenance_reviews).where(*conditions).order_by(*order)
        return await page(self._engine, query, limit=limit, offset=offset)


def _alert(row: Row) -> TeachingAlert:
    fields = ("alert_id", "contract_id", "issue_type", "equipment_id", "equipment_type", "node_id")
    told = {name: row[name] for name in fields}
    return taught(TeachingAlert(**told, happened_at=row["occurred_at"], data=json.loads(row["data"])))


def _review(row: Row, alerts: list[Row]) -> Review:
    """As it was asked for: its approval is about exactly this."""
    by_id, proposed = {one["alert_id"]: _alert(one) for one in alerts}, json.loads(row["proposed"])
    return Review(
        review_id=row["review_id"],
        contract_id=row["contract_id"],
        issue_type=row["issue_type"],
        finding=Finding(
            review_type=row["review_type"],
            alerts=tuple(by_id[name] for name in json.loads(row["alert_ids"]) if name in by_id),
        ),
        proposal=Proposal(
            parent_version=row["version"] or None,
            changes=tuple(ContractChange.model_validate(change) for change in proposed["changes"]),
            advice=proposed["advice"],
        ),
    )
