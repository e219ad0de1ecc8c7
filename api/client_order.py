"""Client orders over HTTP: the whole chain of contracts, where it is stuck, and who can move it."""

from collections import Counter
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.house import House, TheHouse
from api.problems import not_found
from api.security import GuardedRoute, requires
from schemas import names
from schemas.client_order import (
    ClientOrder,
    Contract,
    Stand,
    Standing,
    Test,
    Times,
    Transfer,
    contract_stand,
    order_stand,
    to_come_stand,
)
from schemas.client_po import ClientPOStatus
from schemas.permission import Permission
from schemas.test_results import TestVerdict
from schemas.transfer import Disposition

router = APIRouter(prefix="/api/v1", tags=["Client orders"], route_class=GuardedRoute)


class StandResource(BaseModel):
    """Where it stands, what it waits for and who can move it on."""

    standing: Standing
    waits_for: str
    moved_on_by: str


class ChainedContractResource(StandResource):
    """One contract of the chain; of one that is still to come only name, station and place in the chain are known.

    `verdict` and `disposition` are those of the last revision that was authorized; `times` those of the ledger.
    """

    smart_contract_id: str
    node: str
    sequence_number: int | None = None
    routed_from: str | None = None
    po_status: ClientPOStatus | None = None
    test: Test | None = None
    transfers: list[Transfer] = []
    verdict: TestVerdict | None = None
    disposition: Disposition | None = None
    times: Times | None = None
    links: dict[str, str] = {}


class ContractCounts(BaseModel):
    """How many contracts of an order stand where."""

    stuck: int = 0
    under_way: int = 0
    to_come: int = 0
    ended: int = 0
    complete: int = 0


class ClientOrderResource(StandResource):
    """A client order; `notified_at` is when this system's Business Hub was told that it is complete."""

    clientpo_id: str
    client: str
    counts: ContractCounts
    staged_at: datetime
    notified_at: datetime | None
    links: dict[str, str]


class ClientOrderDetails(ClientOrderResource):
    """A client order with its chain, in the order of the sequence numbers."""

    contracts: list[ChainedContractResource]


class ClientOrderList(BaseModel):
    """One page, the latest staged first."""

    matching: int
    limit: int
    offset: int
    client_orders: list[ClientOrderResource]


@router.get("/client-orders", dependencies=[requires(Permission.JOB_VIEW)])
async def client_orders(
    house: TheHouse,
    stuck: Annotated[bool | None, Query(description="only orders of which a contract needs a person, or none")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> ClientOrderList:
    """Client orders, and how many of their contracts stand where."""
    matching, found = await house.client_orders.page(stuck=stuck, limit=limit, offset=offset)
    orders = [_resource(order) for order in found]
    return ClientOrderList(matching=matching, limit=limit, offset=offset, client_orders=orders)


@router.get("/client-orders/{clientpo_id}", dependencies=[requires(Permission.JOB_VIEW)])
async def show(clientpo_id: str, house: TheHouse) -> ClientOrderDetails:
    """The whole chain: each contract, its states and times, where it is stuck and who can move it."""
    order = await house.client_orders.get(clientpo_id)
    if order is None:
        raise not_found(f"client order {clientpo_id}")
    return ClientOrderDetails(**_resource(order).model_dump(), contracts=_chain(house, order))


def _resource(order: ClientOrder) -> ClientOrderResource:
    counts = Counter(contract_stand(contract).standing.value for contract in order.contracts)
    counts[Standing.TO_COME.value] = len(order.to_come())
    return ClientOrderResource(
        **order_stand(order).model_dump(),
        clientpo_id=order.clientpo_id,
        client=order.client,
        counts=ContractCounts(**counts),
        staged_at=min(contract.times.staged for contract in order.contracts),
        notified_at=order.notified_at,
        links={"self": f"/api/v1/client-orders/{order.clientpo_id}"},
    )


def _chain(house: House, order: ClientOrder) -> list[ChainedContractResource]:
    """What is to come stands after the contract that names it."""
    to_come = {contract.after: contract for contract in order.to_come()}
    chain = []
    for contract in order.contracts:
        chain.append(_contract(house, contract, contract_stand(contract)))
        if (following := to_come.get(contract.smart_contract_id)) is not None:
            chain.append(
                ChainedContractResource(
                    smart_contract_id=following.smart_contract_id,
                    node=following.node,
                    **to_come_stand(following).model_dump(),
                )
            )
    return chain


def _contract(house: House, contract: Contract, stand: Stand) -> ChainedContractResource:
    name = contract.smart_contract_id
    workflow_id = names.client_po_id(name) if contract.test is None else names.test_execution_id(name)
    links = {"client_po": f"/api/v1/client-pos/{name}"}
    if contract.test is not None:
        links["test"] = f"/api/v1/tests/{name}"
    if contract.transfers:
        package_id = contract.transfers[-1].package_id
        links["transfer"] = f"/api/v1/transfers/{package_id}"
        workflow_id = names.transfer_id(package_id)
        if any(transfer.vault_entry is not None for transfer in contract.transfers):
            links |= {"vault": f"/api/v1/vault/{name}", "report": f"/api/v1/vault/{name}/report"}
    return ChainedContractResource(
        smart_contract_id=name,
        node=contract.node,
        sequence_number=contract.sequence_number,
        routed_from=contract.routed_from,
        po_status=contract.po_status,
        test=contract.test,
        transfers=list(contract.transfers),
        verdict=contract.verdict,
        disposition=contract.disposition,
        times=contract.times,
        links={**links, "temporal_ui": house.workflow_url(workflow_id)},
        **stand.model_dump(),
    )
