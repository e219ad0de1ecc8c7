"""SmartClientPOs over HTTP: staging, looking, and what people ask of them."""

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from pydantic import BaseModel, ValidationError

from api.documents import A_CONTRACT, sent_contract, unusable
from api.house import House, TheHouse
from api.ledger import TimelineEvent
from api.problems import Problem, not_found
from api.security import GuardedRoute, requires
from api.updates import NotOpen, Once, decision_token, refused
from infra.client_po import outlook_of
from infra.database import Row
from infra.staging import OtherDocument
from schemas import client_po as schema
from schemas import names
from schemas.canonical import NotCanonical
from schemas.client_po import TERMINAL, ClientPOStatus
from schemas.client_po_life import acceptance_wanted
from schemas.identity import Identity
from schemas.permission import Permission
from schemas.request import Reasoned, Retrial

router = APIRouter(prefix="/api/v1", tags=["SmartClientPOs"], route_class=GuardedRoute)


class StagedResource(BaseModel):
    """A staged PO as everybody sees it."""

    smart_contract_id: str
    workflow_id: str
    staging_id: str
    status: ClientPOStatus
    clientpo_id: str
    client: str
    part_id: str | None
    part_number: str | None
    quantity: int
    arrived: int
    accepted_quantity: int | None
    priority: int
    due_date: datetime | None
    expected_arrival: datetime | None
    arrival_location: str | None
    sequence_number: int
    target_node: str
    hold_reason: str | None
    release_error: str | None
    receipt_hash: str | None
    pending_approval: str | None
    document_hash: str
    staged_timestamp: datetime
    arrival_timestamp: datetime | None
    release_timestamp: datetime | None
    waits_for: str
    moved_on_by: str
    links: dict[str, str]


class ClientPOResource(StagedResource):
    """A staged PO with its document and all that happened to it."""

    document: dict[str, Any]
    timeline: list[TimelineEvent]


class StagingQueue(BaseModel):
    """The specification's counts, and one page of the queue in the order of the line."""

    total_staged: int
    awaiting_arrival: int
    arrival_confirmed: int
    ready_for_release: int
    released: int
    on_hold: int
    cancelled: int
    matching: int
    limit: int
    offset: int
    queue: list[StagedResource]


@router.post(
    "/client-pos",
    status_code=201,
    responses={200: {"model": StagedResource, "description": "It was staged before"}},
    openapi_extra=A_CONTRACT,
)
async def stage(
    request: Request, response: Response, house: TheHouse, who: Annotated[Identity, requires(Permission.JOB_CREATE)]
) -> StagedResource:
    """Stage a SmartClientPO (JSON or YAML): 201 when it is new, 200 for the same document again."""
    document = await sent_contract(request)
    try:
        row, new = await house.staging.record(document, who.user_id)
    except (ValidationError, NotCanonical) as error:
        raise unusable(error) from error
    except OtherDocument as error:
        raise Problem(409, "conflict", "Another document is staged under this ID", str(error)) from error
    if row["status"] not in TERMINAL:
        await house.staging.start(row)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/api/v1/client-pos/{row['smart_contract_id']}"
    return _resource(house, row)


@router.get("/client-pos/{smart_contract_id}", dependencies=[requires(Permission.JOB_VIEW)])
async def show(smart_contract_id: str, house: TheHouse) -> ClientPOResource:
    """Its state, what it waits for and who can move it on, and its timeline."""
    row = await _row(house, smart_contract_id)
    timeline = [TimelineEvent.of(entry) for entry in await house.ledger.timeline(smart_contract_id)]
    return ClientPOResource(
        **_resource(house, row).model_dump(), document=json.loads(row["document"]), timeline=timeline
    )


@router.get("/staging-queue", dependencies=[requires(Permission.JOB_VIEW)])
async def staging_queue(
    house: TheHouse,
    status: ClientPOStatus | None = None,
    node: str | None = None,
    clientpo_id: str | None = None,
    part: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> StagingQueue:
    """The counts of the whole queue, and a page of what the filters leave."""
    counts = await house.client_pos.counts()
    matching, rows = await house.client_pos.queue(
        status=status, node=node, clientpo_id=clientpo_id, part=part, limit=limit, offset=offset
    )
    on_hold = counts.pop(ClientPOStatus.HOLD)
    return StagingQueue(
        total_staged=sum(counts.values()) + on_hold,
        on_hold=on_hold,
        **counts,
        matching=matching,
        limit=limit,
        offset=offset,
        queue=[_resource(house, row) for row in rows],
    )


class Asking:
    """Asks the workflow of the PO in the path, and answers with the row that its answer is committed in."""

    def __init__(self, smart_contract_id: str, house: TheHouse, once: Annotated[Once, Depends()]) -> None:
        self._name = smart_contract_id
        self._house = house
        self._once = once

    async def __call__(self, update: str, asked: Reasoned, who: Identity, **fields: Any) -> StagedResource:
        values = {**asked.model_dump(exclude_unset=True), **fields, "reason": asked.reason, "user_id": who.user_id}
        request = schema.REQUESTS[update].model_validate(values)
        row = await self.row()
        try:
            await self._once.ask(row["workflow_id"], update, request, who)
        except NotOpen as error:
            row = await self.row()
            if row["status"] not in TERMINAL and await self._house.staging.start(row):
                return await self(update, asked, who, **fields)
            raise refused(f"the PO is {row['status']}: nothing can be changed any more") from error
        return _resource(self._house, await self.row())

    async def row(self) -> Row:
        """As it is now; raises `Problem` where there is none."""
        return await _row(self._house, self._name)


Ask = Annotated[Asking, Depends()]


MayAmend = Annotated[Identity, requires(Permission.PO_AMEND)]
MayHold = Annotated[Identity, requires(Permission.PO_HOLD)]


@router.patch("/client-pos/{smart_contract_id}")
async def amend(amendment: schema.Amendment, ask: Ask, who: MayAmend) -> StagedResource:
    """Change priority, due date or expected arrival before release, with a reason."""
    return await ask(names.AMEND, amendment, who)


@router.post("/client-pos/{smart_contract_id}/hold")
async def hold(request: Reasoned, ask: Ask, who: MayHold) -> StagedResource:
    """Keep it from being released; while its node is taking it the answer comes after the outcome."""
    return await ask(names.HOLD, request, who)


@router.post("/client-pos/{smart_contract_id}/resume")
async def resume(request: Reasoned, ask: Ask, who: MayHold) -> StagedResource:
    """End a hold."""
    return await ask(names.RESUME, request, who)


@router.post("/client-pos/{smart_contract_id}/cancel")
async def cancel(
    request: Reasoned, ask: Ask, who: Annotated[Identity, requires(Permission.PO_CANCEL)]
) -> StagedResource:
    """End it before release; its parts go to the next in line."""
    return await ask(names.CANCEL, request, who)


@router.post("/client-pos/{smart_contract_id}/retry")
async def retry(
    ask: Ask,
    who: Annotated[Identity, requires(Permission.JOB_RELEASE)],
    request: Annotated[Retrial, Body(default_factory=Retrial)],
) -> StagedResource:
    """Try the release again at once."""
    return await ask(names.RETRY, request, who)


@router.post("/client-pos/{smart_contract_id}/accept-quantity", status_code=202)
async def accept_quantity(acceptance: schema.Acceptance, ask: Ask, house: TheHouse, who: MayAmend) -> StagedResource:
    """Ask that fewer parts than ordered be accepted: `pending_approval` says which approval a second person answers."""
    row = await ask.row()
    quantity = acceptance.quantity or row["arrived"]
    wanted = acceptance_wanted(row["smart_contract_id"], quantity, row["quantity"])
    token = decision_token(house, who, wanted, meaning=f"asks to accept {quantity} of {row['quantity']}")
    return await ask(names.ACCEPT_QUANTITY, acceptance, who, token=token, quantity=quantity or None)


async def _row(house: House, smart_contract_id: str) -> Row:
    row = await house.client_pos.get(smart_contract_id)
    if row is None:
        raise not_found(f"SmartClientPO {smart_contract_id}")
    return row


def _resource(house: House, row: Row) -> StagedResource:
    name = row["smart_contract_id"]
    links = {"self": f"/api/v1/client-pos/{name}", "temporal_ui": house.workflow_url(row["workflow_id"])}
    if row["pending_approval"]:
        links["approval"] = f"/api/v1/approvals/{row['pending_approval']}"
    fields = {field: row[field] for field in StagedResource.model_fields if field in row}
    return StagedResource(**fields, **outlook_of(row).model_dump(), links=links)
