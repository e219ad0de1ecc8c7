"""Transfers over HTTP: what became of an authorized package, trying a leg again, and what was not accepted."""

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ValidationError
from temporalio.service import RPCError

from api.documents import JSON, described, sent_document, unusable
from api.house import House, TheHouse
from api.ledger import TimelineEvent
from api.problems import Problem, not_found
from api.security import GuardedRoute, only, requires
from api.updates import NotOpen, Once, decision_token, refused
from infra.database import Row
from infra.ledger import LedgerConflict
from infra.temporal import NotStarted
from infra.transfer import start_transfer
from schemas import names
from schemas.base import Model
from schemas.canonical import NotCanonical, document_hash
from schemas.guardian import AuthorizationPackage
from schemas.identity import Identity
from schemas.ledger import LedgerEntry
from schemas.permission import Permission
from schemas.record import Record
from schemas.test_results import TestVerdict
from schemas.transfer import (
    Destination,
    Dispose,
    DisposeRequest,
    Disposition,
    LegRetrial,
    LegStatus,
    PackageStatus,
    RetryRequest,
    TransferStart,
    authorization_refusal,
    disposition_wanted,
    leg_outlook,
    opened,
)

router = APIRouter(prefix="/api/v1", tags=["Transfers"], route_class=GuardedRoute)

Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]


class LegResource(BaseModel):
    """One leg; `error` is that of its last attempt."""

    destination: Destination
    status: LegStatus
    attempts: int
    error: str | None
    waits_for: str
    moved_on_by: str


class TransferResource(BaseModel):
    """A package and its legs. `content_hash` is that of the whole package."""

    package_id: str
    smart_contract_id: str
    clientpo_id: str
    node_id: str
    revision: int
    verdict: TestVerdict
    status: PackageStatus
    disposition: Disposition | None
    next_station: str | None
    next_contract: str | None
    content_hash: str
    legs: list[LegResource]
    signed_at: datetime
    authorized_at: datetime
    opened_at: datetime
    received_at: datetime | None
    vault_at: datetime | None
    next_node_at: datetime | None
    ended_at: datetime | None
    links: dict[str, str]


class TransferEvent(TimelineEvent):
    """One ledger entry about the transfer: every attempt, with what it sent and what it heard."""

    metadata: dict[str, Any]


class TransferDetails(TransferResource):
    """A transfer with its package and all that happened to it."""

    package: dict[str, Any]
    timeline: list[TransferEvent]


class TransferList(BaseModel):
    """One page, the newest first."""

    matching: int
    limit: int
    offset: int
    transfers: list[TransferResource]


class NonconformanceResource(BaseModel):
    """Results that were not accepted; `content_hash` is what a disposition decides on."""

    number: int
    package_id: str
    smart_contract_id: str
    clientpo_id: str
    verdict: TestVerdict
    tests: str
    content_hash: str
    disposition: Disposition | None
    decided_by: str | None
    decided_role: str | None
    reason: str | None
    opened_at: datetime
    decided_at: datetime | None
    links: dict[str, str]


class NonconformanceList(BaseModel):
    """One page, the newest first."""

    matching: int
    limit: int
    offset: int
    nonconformances: list[NonconformanceResource]


@router.get("/transfers", dependencies=[requires(Permission.JOB_VIEW)])
async def transfers(
    house: TheHouse,
    status: PackageStatus | None = None,
    clientpo_id: str | None = None,
    smart_contract_id: str | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> TransferList:
    """Transfers by state, client order and contract."""
    matching, rows = await house.transfers.find(
        status=status, clientpo_id=clientpo_id, smart_contract_id=smart_contract_id, limit=limit, offset=offset
    )
    found = [_resource(house, row) for row in rows]
    return TransferList(matching=matching, limit=limit, offset=offset, transfers=found)


@router.get("/transfers/{package_id}", dependencies=[requires(Permission.JOB_VIEW)])
async def show(package_id: str, house: TheHouse) -> TransferDetails:
    """Each leg, what it waits for and who can move it on, and every attempt so far."""
    row = await _row(house, package_id)
    timeline = [TransferEvent.of(entry) for entry in await house.ledger.timeline(package_id)]
    package = json.loads(row["package"])
    return TransferDetails(**_resource(house, row).model_dump(), package=package, timeline=timeline)


@router.post("/transfers/{package_id}/retry")
async def retry(
    package_id: str,
    retrial: LegRetrial,
    house: TheHouse,
    once: Annotated[Once, Depends()],
    who: Annotated[Identity, requires(Permission.TRANSFER_RETRY)],
) -> TransferResource:
    """Try a leg again that waits for a person, or at once one that would try again by itself."""
    request = RetryRequest(reason=retrial.reason, destination=retrial.destination, user_id=who.user_id)
    await _ask(house, once, package_id, names.RETRY_TRANSFER, request, who)
    return _resource(house, await _row(house, package_id))


@router.get("/nonconformances", dependencies=[requires(Permission.JOB_VIEW)])
async def nonconformances(
    house: TheHouse,
    open: bool | None = None,  # noqa: A002 - the query's own word
    clientpo_id: str | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> NonconformanceList:
    """Results that were not accepted; `open` are those that wait for a disposition."""
    matching, rows = await house.transfers.nonconformances(
        open_=open, clientpo_id=clientpo_id, limit=limit, offset=offset
    )
    found = [_nonconformance(house, row) for row in rows]
    return NonconformanceList(matching=matching, limit=limit, offset=offset, nonconformances=found)


@router.get("/nonconformances/{number}", dependencies=[requires(Permission.JOB_VIEW)])
async def nonconformance(number: int, house: TheHouse) -> NonconformanceResource:
    """What was not accepted, and what was decided on it."""
    return _nonconformance(house, await _record(house, number))


@router.post("/nonconformances/{number}/disposition")
async def dispose(
    number: int,
    decision: Dispose,
    house: TheHouse,
    once: Annotated[Once, Depends()],
    who: Annotated[Identity, requires(Permission.DISPOSITION_DECIDE)],
) -> NonconformanceResource:
    """Decide what becomes of the part: use_as_is, rework, scrap or return_to_client.

    For exactly what was seen (`content_hash`), and by nobody who performed or signed the test.
    """
    row = await _record(house, number)
    if decision.content_hash != row["content_hash"]:
        raise refused(f"nonconformance {number} is about other content than what you saw: look at it again")
    wanted = disposition_wanted(row["package_id"], row["content_hash"])
    chosen = decision.disposition
    token = decision_token(house, who, wanted, meaning=chosen, decision=chosen)
    request = DisposeRequest(token=token, reason=decision.reason)
    await _ask(house, once, row["package_id"], names.DISPOSE, request, who)
    return _nonconformance(house, await _record(house, number))


@router.post(
    "/guardian/authorizations",
    status_code=202,
    responses={200: {"model": TransferResource, "description": "It was authorized before"}},
    openapi_extra=described(AuthorizationPackage),
)
async def authorize(
    request: Request,
    response: Response,
    house: TheHouse,
    who: Annotated[Identity, requires(Permission.AUTHORIZATION_SUBMIT)],
) -> TransferResource:
    """Hand in the package of a Guardian whose key is on the trust list: 202 when it is new, 200 for the same again.

    What is refused (422), or differs from what is known under its ID (409), is recorded and alerted, and moves nothing.
    """
    only(request, JSON)
    package = await _trusted(house, await sent_document(request), who)
    same = await house.transfers.get(package.package_id) is not None
    if not same:
        try:
            same = (await house.ledger.record(_authorization(package, who))).repeated
        except LedgerConflict:  # other content, or the same that somebody else handed in
            same = True
    row = await _row(house, package.package_id)
    if row["content_hash"] != package.content_hash:
        reason = f"{package.package_id} is known with other content"
        await _refuse(house, package.package_id, package.content_hash, reason, who)
        raise Problem(409, "conflict", "Another package has this ID", reason)
    if row["ended_at"] is None:
        await _start(house, package)
    response.status_code = 200 if same else 202
    response.headers["Location"] = f"/api/v1/transfers/{package.package_id}"
    return _resource(house, row)


async def _trusted(house: House, document: dict[str, Any], who: Identity) -> AuthorizationPackage:
    """The package that authorizes what it says; raises `Problem` after what is refused was recorded."""
    named = str(document.get("package_id"))
    try:
        hash_ = document_hash(document)
        package = AuthorizationPackage.model_validate(document)
    except NotCanonical as error:
        raise unusable(error) from error
    except ValidationError as error:
        problem = unusable(error)
        await _refuse(house, named, hash_, f"it is incomplete: {problem.detail}", who)
        raise problem from error
    if reason := await house.gatekeeper.refusal(package):
        await _refuse(house, named, package.content_hash, reason, who)
        raise Problem(422, "not-authorized", "The package authorizes nothing", reason)
    return package


async def _refuse(house: House, package_id: str, content_hash: str, reason: str, who: Identity) -> None:
    await house.ledger.record(
        authorization_refusal(package_id, content_hash, reason, source="api", user_id=who.user_id)
    )


def _authorization(package: AuthorizationPackage, who: Identity) -> Record:
    data = package.test_data
    entry = LedgerEntry(
        idempotency_key=f"{package.package_id}:hand_in",  # not its test's own: that must be able to record it too
        action_type="guardian",
        action="authorize_package",
        target=package.package_id,
        details=f"Authorized by the Guardian of {data.node_id}, handed in over HTTP",
        user_id=who.user_id,
        smart_id=data.node_id,
        metadata={"content_hash": package.content_hash, "smart_contract_id": data.smart_contract_id},
    )
    return Record(entry=entry, changes=(opened(package),))


async def _start(house: House, package: AuthorizationPackage) -> None:
    try:
        await start_transfer(house.temporal, TransferStart(package=package))
    except RPCError as error:
        raise NotStarted(package.package_id) from error


async def _ask(house: House, once: Once, package_id: str, update: str, message: Model, who: Identity) -> None:
    row = await _row(house, package_id)
    try:
        await once.ask(names.transfer_id(package_id), update, message, who)
    except NotOpen as error:
        raise refused(
            f"the transfer is {row['status']} and its workflow is not open: nothing can be changed"
        ) from error


async def _row(house: House, package_id: str) -> Row:
    row = await house.transfers.get(package_id)
    if row is None:
        raise not_found(f"transfer {package_id}")
    return row


async def _record(house: House, number: int) -> Row:
    row = await house.transfers.nonconformance(number) if 0 < number < 2**63 else None
    if row is None:
        raise not_found(f"nonconformance {number}")
    return row


def _resource(house: House, row: Row) -> TransferResource:
    name = row["package_id"]
    links = {
        "self": f"/api/v1/transfers/{name}",
        "client_po": f"/api/v1/client-pos/{row['smart_contract_id']}",
        "vault": f"/api/v1/vault/{row['smart_contract_id']}",
        "temporal_ui": house.workflow_url(names.transfer_id(name)),
    }
    fields = {field: row[field] for field in TransferResource.model_fields if field in row}
    return TransferResource(**fields, legs=[_leg(row, destination) for destination in Destination], links=links)


def _leg(row: Row, destination: Destination) -> LegResource:
    status, error = LegStatus(row[f"{destination}_status"]), row[f"{destination}_error"]
    return LegResource(
        destination=destination,
        status=status,
        attempts=row[f"{destination}_attempts"],
        error=error,
        **leg_outlook(destination, status, error).model_dump(),
    )


def _nonconformance(house: House, row: Row) -> NonconformanceResource:
    links = {
        "self": f"/api/v1/nonconformances/{row['number']}",
        "transfer": f"/api/v1/transfers/{row['package_id']}",
        "temporal_ui": house.workflow_url(names.transfer_id(row["package_id"])),
    }
    return NonconformanceResource(**row, links=links)
