"""Arrivals of parts as they come in, and what the line of a part and the POs in it tell each other."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationInfo, field_validator

from schemas import names
from schemas.approval import ApprovalRequest, ApprovalType, Difference
from schemas.base import BroadcastId, Identifier, Model, Text, UtcDateTime
from schemas.decision import Wanted, content_hash
from schemas.permission import Permission

MEMORY = timedelta(days=7)
"""How long broadcast IDs are remembered."""

CLOCK_TOLERANCE = timedelta(minutes=10)
"""How far ahead a scanner's clock may be."""

IDLE = MEMORY + CLOCK_TOLERANCE
"""How long an entity with nothing to do stays: until no broadcast that it has seen would count again."""

CONDITION_OK = "ok"

Units = Annotated[StrictInt, Field(ge=1, le=1_000_000)]


def needs_a_part(part_number: str | None, info: ValidationInfo) -> str | None:
    """Field rule: without a `part_id` there is a `part_number`."""
    if part_number is None and info.data.get("part_id", "invalid") is None:
        raise ValueError("part_id or part_number is needed: it is what arrivals and POs are matched by")
    return part_number


def one_part_is_one(quantity: int, info: ValidationInfo) -> int:
    """Field rule: a `part_id` is one physical part."""
    if info.data.get("part_id") is not None and quantity != 1:
        raise ValueError("a part_id is one physical part, so its quantity is 1")
    return quantity


class PartArrival(BaseModel):
    """The body of `smart/infobroadcast/part_arrival`, and of a hand scanner's request. Unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: BroadcastId
    event_type: Literal["part_arrival"]
    part_id: Identifier | None = None
    part_number: Annotated[Identifier | None, Field(validate_default=True)] = None
    quantity: Units = 1
    location: Text
    condition: Text = CONDITION_OK
    timestamp: UtcDateTime

    @field_validator("part_number")
    @classmethod
    def _names_a_part(cls, part_number: str | None, info: ValidationInfo) -> str | None:
        return needs_a_part(part_number, info)

    @field_validator("quantity")
    @classmethod
    def _one_part_is_one(cls, quantity: int, info: ValidationInfo) -> int:
        return one_part_is_one(quantity, info)

    @property
    def workflow_id(self) -> str:
        """The `PartArrivalWorkflow` that matches it."""
        return names.part_arrival_id(self.part_id, self.part_number)


class ReportedArrival(Model):
    """An arrival as the gateway hands it over; `at_node` says that its location is a node of the registry."""

    arrival: PartArrival
    at_node: bool
    user_id: str = "system"


class WithdrawArrival(Model):
    """Takes an arrival back: it was scanned by mistake.

    Where a PO was released with it already, a decision token says who asks, and a second person must approve.
    """

    broadcast_id: BroadcastId
    reason: Text
    user_id: Identifier = "unidentified"
    token: str | None = None


class PendingWithdrawal(Model):
    """A withdrawal that waits for its approval, the POs that were released with its arrival, and what is asked."""

    withdrawal: WithdrawArrival
    released: tuple[str, ...]
    content_hash: str


def withdrawal_wanted(line_id: str, broadcast_id: str) -> Wanted:
    """The decision by which a person asks that an arrival be withdrawn."""
    return Wanted(
        workflow_id=line_id,
        content_hash=content_hash(line_id, withdraw=broadcast_id),
        decisions=(names.WITHDRAW,),
        permission=Permission.ARRIVAL_WITHDRAW,
        signs_record=False,
    )


def withdrawal_request(
    line_id: str, withdrawal: WithdrawArrival, released: tuple[str, ...], *, number: str, requested_by: str
) -> ApprovalRequest:
    """What a second person is asked; `number` tells this request from others for the same arrival."""
    digest = content_hash(line_id, withdraw=withdrawal.broadcast_id, number=number)
    return ApprovalRequest(
        approval_id=f"withdrawal.{digest[:24]}",
        request_type=ApprovalType.WITHDRAWAL_AFTER_RELEASE,
        subject=", ".join(released),
        requested_by=requested_by,
        changes=(Difference(field=f"arrival {withdrawal.broadcast_id}", before="released with it", after="withdrawn"),),
        reason=withdrawal.reason,
        wakes=line_id,
    )


class WaitingPO(Model):
    """A PO in the line. `ticket` grows each time the PO comes (back) into the line."""

    smart_contract_id: Identifier
    ticket: int
    quantity: Units
    priority: int
    staged_at: UtcDateTime
    place: str | None
    node: str | None = None

    @property
    def order(self) -> tuple[int, datetime, str]:
        """Its place in the line."""
        return self.priority, self.staged_at, self.smart_contract_id


class PORef(Model):
    """Names a PO to the line, by the ticket that it holds."""

    smart_contract_id: Identifier
    ticket: int


class Reorder(PORef):
    """A PO's new priority."""

    priority: int


class AcceptedQuantity(PORef):
    """How many parts now confirm the PO."""

    quantity: Units


class Share(Model):
    """The units of one broadcast that a PO was given."""

    broadcast_id: BroadcastId
    quantity: Units
    location: str
    at_node: bool
    condition: str
    timestamp: UtcDateTime


class Allotment(PORef):
    """The whole quantity for one PO, told to it as `parts_confirmed`."""

    shares: Annotated[tuple[Share, ...], Field(min_length=1)]

    @property
    def quantity(self) -> int:
        """Units given."""
        return sum(share.quantity for share in self.shares)

    @property
    def broadcast_ids(self) -> tuple[str, ...]:
        """The broadcasts that brought them, in order of time."""
        return tuple(share.broadcast_id for share in self.shares)

    @property
    def damage(self) -> str | None:
        """The conditions other than ok, in words; None where there are none."""
        found = [
            f"{s.condition} at {s.location} ({s.broadcast_id})" for s in self.shares if s.condition != CONDITION_OK
        ]
        return "; ".join(found) or None


class Held(Model):
    """What the line has given to a PO; what is `revoked` it must give back, and is told so."""

    shares: tuple[Share, ...]
    revoked: bool


class RevocationCause(StrEnum):
    """Why a confirmation no longer holds; the value is the ledger action."""

    WITHDRAWN = "withdraw_arrival"
    MOVED = "part_moved"


class Revocation(PORef):
    """Tells a PO that its confirmation no longer holds. Lines that run since before there was a `cause` send none."""

    cause: RevocationCause = RevocationCause.WITHDRAWN
    reason: str


class Count(PORef):
    """Tells a PO how many of its parts are there."""

    arrived: int


class Damage(PORef):
    """Tells a PO that a part of its was found in another condition than ok."""

    condition: str


class ArrivalOutcome(StrEnum):
    """What became of a broadcast; the value is the ledger action."""

    COUNTED = "receive_arrival"
    TRACKING = "track_arrival"
    DUPLICATE = "duplicate_broadcast"
    OUT_OF_WINDOW = "refuse_arrival"


class LineStatus(StrEnum):
    """`SmartStatus` of a `PartArrivalWorkflow`: units in stock, else POs in the line, else neither."""

    UNCLAIMED = "unclaimed"
    AWAITING_ARRIVAL = "awaiting_arrival"
    SERVED = "served"
