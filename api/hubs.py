"""This system's own ends of the legs of a transfer; `SMARTFLOOR_VAULT_HUB_URL` and the like name others."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from api.documents import JSON, described, sent_document, unusable
from api.house import TheHouse
from api.problems import Problem
from api.security import GuardedRoute, only, requires
from infra.reception import NotTaken, OtherContent
from schemas.canonical import NotCanonical
from schemas.identity import Identity
from schemas.permission import Permission
from schemas.transfer_package import HubReceipt, OrderComplete, RouteToNode, VaultPackage

router = APIRouter(tags=["Hubs"], route_class=GuardedRoute)

Sender = Annotated[Identity, requires(Permission.TRANSFER_RECEIVE)]

TAKEN: tuple[type[BaseModel], ...] = (VaultPackage, RouteToNode, OrderComplete)
"""The bodies of these routes, which read them themselves: what is hashed is what came."""


@router.post("/vault-hub/receive-test-results", openapi_extra=described(VaultPackage))
async def receive_test_results(request: Request, house: TheHouse, who: Sender) -> HubReceipt:
    """Store an authorized package in the vault, once. Same again: same receipt; other content under its ID: 409."""
    return await _received(request, who, house.vault.receive)


@router.post("/floor-hub/route-to-node", openapi_extra=described(RouteToNode))
async def route_to_node(request: Request, house: TheHouse, who: Sender) -> HubReceipt:
    """Stage the next contract of a chain, and have its node told that the part is ready for pickup."""
    return await _received(request, who, house.floor_hub.receive)


@router.post("/business-hub/order-complete", openapi_extra=described(OrderComplete))
async def order_complete(request: Request, house: TheHouse, who: Sender) -> HubReceipt:
    """Hear that a client order is complete."""
    return await _received(request, who, house.business_hub.receive)


async def _received(
    request: Request, who: Identity, receive: Callable[[dict[str, Any], str], Awaitable[HubReceipt]]
) -> HubReceipt:
    only(request, JSON)
    document = await sent_document(request)
    try:
        return await receive(document, who.user_id)
    except (ValidationError, NotCanonical) as error:
        raise unusable(error) from error
    except OtherContent as error:
        raise Problem(409, "conflict", "Something else has its place", str(error)) from error
    except NotTaken as error:
        raise Problem(422, "not-taken", "The package is refused", str(error)) from error
