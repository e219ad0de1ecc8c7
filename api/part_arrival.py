"""Arrivals over HTTP: hand scanners, and taking back what was scanned by mistake."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from api.house import TheHouse
from api.problems import not_found
from api.security import GuardedRoute, requires
from api.updates import NotOpen, ask_workflow, decision_token
from schemas import names
from schemas.base import BroadcastId, Identifier, Model, Text
from schemas.identity import Identity
from schemas.part_arrival import PartArrival, ReportedArrival, WithdrawArrival, needs_a_part, withdrawal_wanted
from schemas.part_line import Withdrawn
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


@router.post("/{broadcast_id:path}/withdraw", responses={202: {"model": Withdrawn}})
async def withdraw(
    broadcast_id: BroadcastId,
    withdrawal: Withdrawal,
    response: Response,
    house: TheHouse,
    who: Annotated[Identity, requires(Permission.ARRIVAL_WITHDRAW)],
) -> Withdrawn:
    """Take an arrival back: POs that it confirmed wait again. 202 where a PO was released with it, and a second person
    must approve."""
    workflow_id = names.part_arrival_id(withdrawal.part_id, withdrawal.part_number)
    wanted = withdrawal_wanted(workflow_id, broadcast_id)
    token = decision_token(house, who, wanted, meaning=f"asks to withdraw arrival {broadcast_id}")
    request = WithdrawArrival(broadcast_id=broadcast_id, reason=withdrawal.reason, user_id=who.user_id, token=token)
    try:
        answer = await ask_workflow(house, workflow_id, names.WITHDRAW, request)
    except NotOpen as error:
        raise not_found(f"an arrival of {withdrawal.part_id or withdrawal.part_number}") from error
    withdrawn = Withdrawn.model_validate(answer)
    if withdrawn.approval_id is not None:
        response.status_code = 202
    return withdrawn
