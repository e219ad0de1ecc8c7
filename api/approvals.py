"""Approvals over HTTP: what waits for an answer, and answering it."""

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.house import House, TheHouse
from api.problems import invalid, not_found
from api.security import GuardedRoute, requires
from api.updates import NotOpen, ask_workflow, decision_token, refused
from infra.approvals import Row
from schemas import names
from schemas.approval import RULES, AddNote, Answer, ApprovalStatus, ApprovalType, CancelApproval, Respond
from schemas.base import Model, Text
from schemas.decision import Wanted
from schemas.faults import Fault
from schemas.identity import Identity
from schemas.permission import Permission, Role

router = APIRouter(prefix="/api/v1", tags=["Approvals"], route_class=GuardedRoute)

MayView = Annotated[Identity, requires(Permission.APPROVAL_VIEW)]
MayRespond = Annotated[Identity, requires(Permission.APPROVAL_RESPOND)]

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


MEANINGS = {Answer.APPROVE: "approved", Answer.REFUSE: "refused"}


class ApprovalResource(BaseModel):
    """One approval; `content_hash` is what an answer answers for."""

    approval_id: str
    request_type: ApprovalType
    subject: str
    requested_by: str
    on_behalf_of: str | None
    summary: str
    changes: list[dict[str, Any]]
    reason: str
    content_hash: str
    permission: Permission
    owner: Role
    status: ApprovalStatus
    decided_by: str | None
    decided_role: Role | None
    note: str | None
    opened_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    links: dict[str, str]


class ApprovalEvent(BaseModel):
    """One ledger entry about the approval: a note, a reminder, an answer and its proof."""

    seq: int
    at: datetime
    action: str
    details: str
    user_id: str


class ApprovalDetails(ApprovalResource):
    """An approval and all that happened to it."""

    timeline: list[ApprovalEvent]


class ApprovalList(BaseModel):
    """One page, the oldest first."""

    matching: int
    limit: int
    offset: int
    approvals: list[ApprovalResource]


class Response(Model):
    """An answer for exactly what was seen: the hash that the approval showed."""

    decision: Answer
    content_hash: Hash
    note: Text | None = None


class Note(Model):
    """Something to consider."""

    note: Text


class Cancellation(Model):
    """Why it is no longer wanted."""

    reason: Text


class DecisionRequest(Model):
    """What is decided, for the Temporal Web UI and CLI, where nobody is logged in."""

    workflow_id: Text
    content_hash: Hash
    decision: Annotated[str, Field(min_length=1, max_length=100)]
    meaning: Annotated[str | None, Field(min_length=1, max_length=200)] = None


class DecisionToken(BaseModel):
    """A token for that decision alone; it counts once and not for long."""

    token: str


@router.get("/approvals")
async def approvals(
    house: TheHouse,
    who: MayView,
    status: ApprovalStatus | None = None,
    request_type: ApprovalType | None = None,
    subject: str | None = None,
    mine: bool = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> ApprovalList:
    """Approvals by state, type and subject; `mine` are those that I asked for and those that my role is asked."""
    matching, rows = await house.approvals.find(
        status=status,
        request_type=request_type,
        subject=subject,
        mine=who if mine else None,
        limit=limit,
        offset=offset,
    )
    found = [_resource(house, row) for row in rows]
    return ApprovalList(matching=matching, limit=limit, offset=offset, approvals=found)


@router.get("/approvals/{approval_id}", dependencies=[requires(Permission.APPROVAL_VIEW)])
async def show(approval_id: str, house: TheHouse) -> ApprovalDetails:
    """What would change, why, who may answer, and all that happened so far."""
    row = await _row(house, approval_id)
    timeline = [
        ApprovalEvent(
            seq=entry.seq, at=entry.occurred_at, action=entry.action, details=entry.details, user_id=entry.user_id
        )
        for entry in await house.ledger.timeline(approval_id)
    ]
    return ApprovalDetails(**_resource(house, row).model_dump(), timeline=timeline)


@router.post("/approvals/{approval_id}/respond")
async def respond(approval_id: str, response: Response, house: TheHouse, who: MayRespond) -> ApprovalResource:
    """Approve or refuse what the hash stands for; whoever asked cannot."""
    row = await _row(house, approval_id)
    needed = Permission(row["permission"])
    house.access.demand(who, needed)
    wanted = Wanted(
        workflow_id=names.approval_workflow_id(approval_id),
        content_hash=response.content_hash,
        decisions=(response.decision,),
        permission=needed,
    )
    token = decision_token(house, who, wanted, meaning=MEANINGS[response.decision])
    if incomplete := RULES[ApprovalType(row["request_type"])].incomplete(response.decision, response.note):
        raise invalid([Fault(field="note", message=incomplete)])
    return await _ask(house, approval_id, names.RESPOND, Respond(token=token, note=response.note))


@router.post("/approvals/{approval_id}/notes", status_code=201)
async def note(approval_id: str, note: Note, house: TheHouse, who: MayView) -> ApprovalResource:
    """Add a note; it decides nothing."""
    return await _ask(house, approval_id, names.NOTE, AddNote(note=note.note, user_id=who.user_id))


@router.post("/approvals/{approval_id}/cancel")
async def cancel(approval_id: str, cancellation: Cancellation, house: TheHouse, who: MayView) -> ApprovalResource:
    """Take the request back; only whoever asked can."""
    row = await _row(house, approval_id)
    if who.user_id not in (row["requested_by"], row["on_behalf_of"]):
        raise refused(f"only {row['requested_by']}, who asked for it, can cancel it; others refuse it")
    return await _ask(house, approval_id, names.CANCEL, CancelApproval(reason=cancellation.reason, user_id=who.user_id))


@router.post("/decisions", status_code=201)
async def decide(request: DecisionRequest, house: TheHouse, who: MayView) -> DecisionToken:
    """A decision token, to be sent as a signal or update by hand. Whether it counts, its workflow decides."""
    token = house.decisions.sign(
        who,
        workflow_id=request.workflow_id,
        content_hash=request.content_hash,
        decision=request.decision,
        meaning=request.meaning or request.decision,
    )
    return DecisionToken(token=token)


async def _ask(house: House, approval_id: str, update: str, message: Model) -> ApprovalResource:
    row = await _row(house, approval_id)
    try:
        await ask_workflow(house, names.approval_workflow_id(approval_id), update, message)
    except NotOpen as error:
        raise refused(f"the approval is {row['status']}: nothing can be said to it any more") from error
    return _resource(house, await _row(house, approval_id))


async def _row(house: House, approval_id: str) -> Row:
    row = await house.approvals.get(approval_id)
    if row is None:
        raise not_found(f"approval {approval_id}")
    return row


def _resource(house: House, row: Row) -> ApprovalResource:
    links = {
        "self": f"/api/v1/approvals/{row['approval_id']}",
        "temporal_ui": house.workflow_url(names.approval_workflow_id(row["approval_id"])),
    }
    return ApprovalResource(**{**row, "changes": json.loads(row["changes"])}, links=links)
