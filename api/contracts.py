"""The contract store over HTTP: contracts that a chain will come to."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ValidationError

from api.documents import A_CONTRACT, sent_contract, unusable
from api.house import House, TheHouse
from api.problems import Problem, invalid, not_found
from api.security import GuardedRoute, requires
from infra.documents import NotReadable
from infra.ledger import LedgerConflict
from schemas.base import Identifier
from schemas.canonical import NotCanonical, document_hash
from schemas.client_po import SmartClientPO
from schemas.faults import Fault
from schemas.identity import Identity
from schemas.ledger import LedgerEntry
from schemas.permission import Permission
from schemas.record import Record

router = APIRouter(prefix="/api/v1/contracts", tags=["Contracts"], route_class=GuardedRoute)

Name = Annotated[Identifier, Path()]


class StoredContract(BaseModel):
    """A contract of the store. `fault` says why a file cannot be read; then there is no hash."""

    smart_contract_id: str
    document_hash: str | None
    fault: str | None
    links: dict[str, str]


class ContractResource(StoredContract):
    """With its document."""

    document: dict[str, Any]


@router.put(
    "/{smart_contract_id}",
    status_code=201,
    responses={200: {"model": ContractResource}},
    openapi_extra=A_CONTRACT,
)
async def store(
    smart_contract_id: Name,
    request: Request,
    response: Response,
    house: TheHouse,
    who: Annotated[Identity, requires(Permission.JOB_CREATE)],
) -> ContractResource:
    """Keep a contract (JSON or YAML) for its chain: 201 when it is new, 200 when it is there or replaces one.

    A contract that is staged stands as it is staged: other content is a conflict.
    """
    document = await sent_contract(request)
    try:
        hash_ = document_hash(document)
        po = SmartClientPO.model_validate(document, context={"nodes": house.registry})
    except (ValidationError, NotCanonical) as error:
        raise unusable(error) from error
    if po.smart_contract_id != smart_contract_id:
        raise invalid([Fault(field="smart_contract_id", message=f"the path says {smart_contract_id}")])
    staged = await house.client_pos.get(smart_contract_id)
    if staged is not None and staged["document_hash"] != hash_:
        detail = f"{smart_contract_id} is staged already"
        raise Problem(409, "conflict", "Another document is staged under this ID", detail)
    there = await asyncio.to_thread(_stored, house, smart_contract_id)
    if there is None or there.document_hash != hash_:
        await _record(house, smart_contract_id, hash_, who)
        await asyncio.to_thread(house.contracts.add, smart_contract_id, document)
    response.status_code = 201 if there is None else 200
    response.headers["Location"] = f"/api/v1/contracts/{smart_contract_id}"
    return _resource(smart_contract_id, document)


@router.get("", dependencies=[requires(Permission.JOB_VIEW)])
async def contracts(house: TheHouse) -> list[StoredContract]:
    """All that are in the store, also files that somebody put there and that cannot be read."""
    return await asyncio.to_thread(lambda: [_stored(house, name) or _gone(name) for name in house.contracts.names()])


@router.get("/{smart_contract_id}", dependencies=[requires(Permission.JOB_VIEW)])
async def show(smart_contract_id: Name, house: TheHouse) -> ContractResource:
    """One contract."""
    try:
        document = await asyncio.to_thread(house.contracts.read, smart_contract_id)
        if document is None:
            raise not_found(f"contract {smart_contract_id}")
        return _resource(smart_contract_id, document)
    except (NotReadable, NotCanonical) as error:
        raise unusable(error) from error


async def _record(house: House, name: str, hash_: str, who: Identity) -> None:
    """Before the file is written. The entry before it makes the key: a contract can become what it was before."""
    newest = await house.ledger.entries(target=name, action="store_contract", limit=1)
    if newest and newest[0].metadata["document_hash"] == hash_:
        return  # recorded, and not written: the API was stopped in between
    entry = LedgerEntry(
        idempotency_key=f"{name}:store_contract:{newest[0].seq if newest else 'first'}",
        action_type="handoff",
        action="store_contract",
        target=name,
        details=f"Contract {name} {'replaced' if newest else 'added'} in the contract store",
        user_id=who.user_id,
        metadata={"document_hash": hash_},
    )
    try:
        await house.ledger.record(Record(entry=entry))
    except LedgerConflict as conflict:
        detail = f"somebody else stored {name} a moment ago; look at it before you send yours again"
        raise Problem(409, "conflict", "Another document was stored", detail) from conflict


def _stored(house: House, name: str) -> StoredContract | None:
    try:
        document = house.contracts.read(name)
        return None if document is None else _resource(name, document)
    except (NotReadable, NotCanonical) as error:
        return StoredContract(smart_contract_id=name, document_hash=None, fault=str(error), links=_links(name))


def _gone(name: str) -> StoredContract:
    return StoredContract(smart_contract_id=name, document_hash=None, fault="removed a moment ago", links={})


def _resource(name: str, document: dict[str, Any]) -> ContractResource:
    return ContractResource(
        smart_contract_id=name, document_hash=document_hash(document), fault=None, document=document, links=_links(name)
    )


def _links(name: str) -> dict[str, str]:
    return {"self": f"/api/v1/contracts/{name}", "client_po": f"/api/v1/client-pos/{name}"}
