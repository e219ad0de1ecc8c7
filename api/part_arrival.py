"""Arrivals over HTTP: hand scanners, and taking back what was scanned by mistake."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, ValidationInfo, field_validator
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from api.house import TheHouse
from api.problems import Problem, not_found
from api.security import GuardedRoute, requires
from infra.temporal import RPC_TIMEOUT
from schemas import names
from schemas.base import BroadcastId, Identifier, Model, Text
from schemas.identity import Identity
from schemas.part_arrival import PartArrival, ReportedArrival, WithdrawArrival, needs_a_part
from schemas.permission import Permission

router = APIRouter(prefix="/api/v1/arrivals", tags=["Arrivals"], route_class=GuardedRoute)


class AcceptedArrival(BaseModel):
    """Temporal has it; `workflow_id` matches it with its PO."""

    id: str
    workflow_id: str
    links: dict[str, str]


class Withdrawal(Model):
    """Names the part as the broadcast did."""

    part_id: Identifier | None = None
    part_number: Annotated[Identifier | None, Field(validate_default=True)] = None
    reason: Text

    @field_validator("part_number")
    @classmethod
    def _names_a_part(cls, part_number: str | None, info: ValidationInfo) -> str | None:
        return needs_a_part(part_number, info)


@router.post("", status_code=202)
async def report(
    arrival: PartArrival, house: TheHouse, who: Annotated[Identity, requires(Permission.ARRIVAL_REPORT)]
) -> AcceptedArrival:
    """The body of a broadcast, from a hand scanner; the same `id` again changes nothing."""
    reported = ReportedArrival(arrival=arrival, at_node=arrival.location in house.registry, user_id=who.user_id)
    workflow_id = await house.part_arrivals.report(reported)
    return AcceptedArrival(
        id=arrival.id, workflow_id=workflow_id, links={"temporal_ui": house.workflow_url(workflow_id)}
    )


@router.post("/{broadcast_id}/withdraw")
async def withdraw(
    broadcast_id: BroadcastId,
    withdrawal: Withdrawal,
    house: TheHouse,
    who: Annotated[Identity, requires(Permission.ARRIVAL_WITHDRAW)],
) -> dict[str, Any]:
    """Take an arrival back: POs that it confirmed wait again, released ones are alerted."""
    workflow_id = names.part_arrival_id(withdrawal.part_id, withdrawal.part_number)
    request = WithdrawArrival(broadcast_id=broadcast_id, reason=withdrawal.reason, user_id=who.user_id)
    handle = house.temporal.get_workflow_handle(workflow_id)
    try:
        answer: dict[str, Any] = await handle.execute_update(names.WITHDRAW, request, rpc_timeout=2 * RPC_TIMEOUT)
    except WorkflowUpdateFailedError as error:
        detail = error.cause.message if isinstance(error.cause, ApplicationError) else str(error.cause)
        raise Problem(409, "refused", "Nothing to withdraw", detail) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise not_found(f"an arrival of {withdrawal.part_id or withdrawal.part_number}") from error
        raise
    return answer
