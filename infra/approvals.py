"""Approvals: reading their rows, and asking for one from outside a workflow."""

from sqlalchemy import JSON, cast, exists, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from infra.database import Row, many, one, page
from infra.tables.approval import approvals
from infra.tables.client_po import client_pos
from infra.tables.ledger import ledger_entries
from infra.tables.maintenance import maintenance_contracts
from infra.tables.maintenance_pattern import maintenance_reviews
from infra.temporal import RPC_TIMEOUT, STATUS
from schemas import names
from schemas.approval import ApprovalOutcome, ApprovalRequest, ApprovalStart, ApprovalStatus, ApprovalType
from schemas.identity import Identity
from schemas.maintenance_pattern import ReviewStatus


class Approvals:
    """What people list and look at; written only through the ledger's `record`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, approval_id: str) -> Row | None:
        """One row."""
        query = select(approvals).where(approvals.c.approval_id == approval_id)
        return await one(self._engine, query)

    async def outcome(self, approval_id: str) -> ApprovalOutcome | None:
        """None while it is open, or not known at all."""
        row = await self.get(approval_id)
        if row is None or row["status"] == ApprovalStatus.OPEN:
            return None
        return ApprovalOutcome(
            approval_id=approval_id,
            content_hash=row["content_hash"],
            status=row["status"],
            decided_by=row["decided_by"],
            role=row["decided_role"],
            note=row["note"],
            wakes=row["wakes"],
        )

    async def unheard(self) -> list[Row]:
        """Those that have ended while whoever asked still waits, as far as rows and the ledger say so.

        A PO's row names the approval that it waits for, as that of a maintenance contract does, and an open review its
        own; a line says in the ledger what came of each, or the approval that no line was there to hear.
        """
        waits = exists().where(client_pos.c.pending_approval == approvals.c.approval_id)
        deployments = exists().where(maintenance_contracts.c.pending_approval == approvals.c.approval_id)
        reviews = exists().where(
            maintenance_reviews.c.approval_id == approvals.c.approval_id,
            maintenance_reviews.c.status == ReviewStatus.OPEN,
        )
        told = exists().where(
            ledger_entries.c.action.in_(("withdraw_arrival", "keep_arrival", "approval_unheard")),
            ledger_entries.c.recorded_at >= approvals.c.ended_at,
            cast(ledger_entries.c.entry, JSON)["metadata"]["approval_id"].as_string() == approvals.c.approval_id,
        )
        of_a_line = approvals.c.request_type == ApprovalType.WITHDRAWAL_AFTER_RELEASE
        query = select(approvals).where(
            approvals.c.status != ApprovalStatus.OPEN,
            approvals.c.wakes.is_not(None),
            waits | deployments | reviews | (of_a_line & ~told),
        )
        return await many(self._engine, query)

    async def open(self, *, after: str = "", limit: int = 500) -> list[Row]:
        """Rows whose workflow should be open, by ID from `after` on."""
        query = (
            select(approvals)
            .where(approvals.c.status == ApprovalStatus.OPEN, approvals.c.approval_id > after)
            .order_by(approvals.c.approval_id)
            .limit(limit)
        )
        return await many(self._engine, query)

    async def find(
        self,
        *,
        status: str | None = None,
        request_type: str | None = None,
        subject: str | None = None,
        mine: Identity | None = None,
        limit: int,
        offset: int,
    ) -> tuple[int, list[Row]]:
        """One page, the oldest first, and how many there are in all; `mine` asked for them, or their role is asked."""
        wanted = {
            approvals.c.status: status,
            approvals.c.request_type: request_type,
            approvals.c.subject: subject,
        }
        conditions = [column == value for column, value in wanted.items() if value is not None]
        if mine is not None:
            conditions.append(
                (approvals.c.requested_by == mine.user_id)
                | (approvals.c.on_behalf_of == mine.user_id)
                | (approvals.c.owner == mine.role)
            )
        query = select(approvals).where(*conditions).order_by(approvals.c.opened_at, approvals.c.approval_id)
        return await page(self._engine, query, limit=limit, offset=offset)


async def ask_approval(client: Client, request: ApprovalRequest) -> None:
    """Starts the approval; the same request again changes nothing."""
    try:
        await client.start_workflow(
            "ApprovalWorkflow",
            ApprovalStart(request=request),
            id=names.approval_workflow_id(request.approval_id),
            task_queue=names.MAIN_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=TypedSearchAttributes([SearchAttributePair(STATUS, ApprovalStatus.OPEN.value)]),
            static_summary=str(request)[:200],
            rpc_timeout=RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return
