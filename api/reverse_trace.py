"""Reverse traces over HTTP: what is in doubt, whose it is, and deciding what becomes of it."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field, ValidationError

from api.house import House, TheHouse
from api.problems import invalid, not_found
from api.security import GuardedRoute, requires
from api.updates import NotOpen, Once, decision_token, refused
from infra.database import Row
from schemas import names
from schemas.base import Identifier, Text
from schemas.faults import faults
from schemas.identity import Identity
from schemas.permission import Permission
from schemas.reverse_trace import DisposeTraced, Selection, TraceDisposition, disposition_wanted

router = APIRouter(prefix="/api/v1/traces", tags=["Reverse traces"], route_class=GuardedRoute)

Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]

MOST_ORDERS = 200
"""Client orders that are named in one answer; those with most that waits come first."""


class TraceResource(BaseModel):
    """One trace. `since` is the day of the last calibration that found the instrument good; null: there was none.

    `searched_at` is null until the ledger was searched: then every result is listed that it has. `waiting` are those
    without a disposition.
    """

    trace_id: str
    equipment_id: str
    certificate_number: str
    calibrated_on: date
    since: date | None
    found_at: datetime
    opened_at: datetime
    searched_at: datetime | None
    closed_at: datetime | None
    found: int
    waiting: int
    client_orders: int
    links: dict[str, str]


class TraceList(BaseModel):
    """One page, the newest first."""

    matching: int
    limit: int
    offset: int
    traces: list[TraceResource]


class ConcernedOrder(BaseModel):
    """A client order with results in doubt."""

    clientpo_id: str
    found: int
    waiting: int


class TracedResultResource(BaseModel):
    """A result in doubt. `package_id` is the package in which it stands.

    It is null where the test is still open (`test_status`), or the result was replaced or rejected before.
    """

    smart_contract_id: str
    revision: int
    test_id: str
    clientpo_id: str
    node_id: str
    verdict: str
    content_hash: str
    submitted_at: datetime
    package_id: str | None
    test_status: str | None
    disposition: TraceDisposition | None
    decided_by: str | None
    decided_role: str | None
    reason: str | None
    decided_at: datetime | None
    ledger_entry: int | None
    links: dict[str, str]


class TraceDetails(TraceResource):
    """A trace, who is concerned, and one page of the selected results.

    `content_hash` is what a disposition of all those decides on that are selected and wait; null where none does.
    """

    orders: list[ConcernedOrder]
    selected: int
    selected_waiting: int
    content_hash: str | None
    limit: int
    offset: int
    results: list[TracedResultResource]


class DisposeResults(Selection):
    """A disposition of all selected results that wait: of exactly those that the hash stands for."""

    disposition: TraceDisposition
    content_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    reason: Text


class Disposed(BaseModel):
    """How many results got their disposition, and the trace afterwards."""

    disposed: int
    trace: TraceResource


@router.get("", dependencies=[requires(Permission.JOB_VIEW)])
async def list_traces(
    house: TheHouse,
    equipment_id: str | None = None,
    open: bool | None = None,  # noqa: A002 - the query's own word
    limit: Limit = 100,
    offset: Offset = 0,
) -> TraceList:
    """Reverse traces by instrument; `open` are those that are not closed."""
    matching, rows = await house.traces.find(equipment_id=equipment_id, open_=open, limit=limit, offset=offset)
    return TraceList(matching=matching, limit=limit, offset=offset, traces=[_resource(house, row) for row in rows])


@router.get("/{trace_id}", dependencies=[requires(Permission.JOB_VIEW)])
async def show(
    trace_id: str,
    house: TheHouse,
    clientpo_id: Identifier | None = None,
    smart_contract_id: Identifier | None = None,
    revision: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    test_id: Identifier | None = None,
    open: bool | None = None,  # noqa: A002 - the query's own word
    limit: Limit = 100,
    offset: Offset = 0,
) -> TraceDetails:
    """The results of a trace: all, or those of a client order, a contract, a test; `open` are those that wait."""
    row = await _row(house, trace_id)
    try:
        selection = Selection(
            clientpo_id=clientpo_id, smart_contract_id=smart_contract_id, revision=revision, test_id=test_id
        )
    except ValidationError as error:
        raise invalid(faults(error)) from error
    selected, results = await house.traces.results(trace_id, selection, open_=open, limit=limit, offset=offset)
    waiting = await house.traces.select(trace_id, selection)
    return TraceDetails(
        **_resource(house, row).model_dump(),
        orders=[ConcernedOrder(**order) for order in await house.traces.orders(trace_id, limit=MOST_ORDERS)],
        selected=selected,
        selected_waiting=waiting.count,
        content_hash=waiting.content_hash if waiting.count else None,
        limit=limit,
        offset=offset,
        results=[_result(result) for result in results],
    )


@router.post("/{trace_id}/dispositions")
async def dispose(
    trace_id: str,
    decision: DisposeResults,
    house: TheHouse,
    once: Annotated[Once, Depends()],
    who: Annotated[Identity, requires(Permission.DISPOSITION_DECIDE)],
) -> Disposed:
    """Decide on all selected results that wait: use_as_is, retest or withdraw.

    For exactly what was seen (`content_hash`), and by nobody who performed or signed one of the tests. What is
    withdrawn or measured again is amended in the vault and on its report.
    """
    row = await _row(house, trace_id)
    if row["searched_at"] is None:
        raise refused("the trace still searches the ledger: decide when it has listed its results")
    wanted = disposition_wanted(trace_id, decision.content_hash)
    token = decision_token(house, who, wanted, meaning=decision.disposition, decision=decision.disposition)
    request = DisposeTraced(token=token, reason=decision.reason, **decision.terms)
    try:
        answer = await once.ask(names.reverse_trace_id(trace_id), names.DISPOSE, request, who)
    except NotOpen as error:
        state = "closed" if row["closed_at"] else "not open in Temporal: start its worker, or look there"
        raise refused(f"the trace is {state}: nothing can be decided") from error
    return Disposed(disposed=answer["count"], trace=_resource(house, await _row(house, trace_id)))


async def _row(house: House, trace_id: str) -> Row:
    row = await house.traces.get(trace_id)
    if row is None:
        raise not_found(f"trace {trace_id}")
    return row


def _resource(house: House, row: Row) -> TraceResource:
    links = {
        "self": f"/api/v1/traces/{row['trace_id']}",
        "equipment": f"/api/v1/equipment/{row['equipment_id']}",
        "temporal_ui": house.workflow_url(names.reverse_trace_id(row["trace_id"])),
    }
    return TraceResource(**row, links=links)


def _result(row: dict[str, Any]) -> TracedResultResource:
    links = {"test": f"/api/v1/tests/{row['smart_contract_id']}"}
    if row["package_id"] is not None:
        links["vault"] = f"/api/v1/vault/{row['smart_contract_id']}"
    fields = {name: row[name] for name in TracedResultResource.model_fields if name in row}
    return TracedResultResource(**fields, ledger_entry=row["decided_entry"], links=links)
