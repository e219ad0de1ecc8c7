"""The rules of a SmartClientPO's life from staging to release (specification 1).

The state is derived, never stored beside what it follows from: a PO is on hold because somebody gave a reason, and
its arrival is confirmed because it has an allotment. `arrival_confirmed` is the moment between the matching and the
committed `confirm_arrival` entry; with that entry nothing else has to be confirmed, and the PO is
`ready_for_release` until its node has taken it. So a row passes from `awaiting_arrival` to `ready_for_release`,
and `arrival_confirmed` is seen there only where the ledger is late.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from schemas import names
from schemas.alert import cause_of
from schemas.approval import ApprovalRequest, ApprovalType, Difference
from schemas.base import Model, UtcDateTime, excerpt
from schemas.client_po import (
    TERMINAL,
    AcceptQuantityRequest,
    ClientPOStatus,
    HoldRequest,
    Quantity,
    ResumeRequest,
    RetryRequest,
    SmartClientPO,
)
from schemas.decision import Wanted, content_hash
from schemas.node import PartReady
from schemas.outlook import Outlook
from schemas.part_arrival import Allotment
from schemas.permission import Permission
from schemas.request import Request


class PartAnnounced(Model):
    """Its node has been told that the part is ready."""

    ready: PartReady


class PendingAcceptance(Model):
    """An acceptance that waits for its approval."""

    approval_id: str
    content_hash: str
    quantity: Quantity


class ClientPOEnd(Model):
    """How a `ClientPOWorkflow` ended."""

    smart_contract_id: str
    status: Literal[ClientPOStatus.RELEASED, ClientPOStatus.CANCELLED]
    receipt_hash: str | None


class ClientPOLife(BaseModel):
    """What is known of a staged PO between two events: mutable, and the only state of its workflow.

    `acceptance` waits for an approval, `acceptances` counts those that were asked for, `tokens` are the decision tokens
    that counted. `late_at` is when its node will have let it wait too long, `late_told` that this was alerted.
    `ready` is what its node is to be told of the part, where a chain brings it; `announced`, that the node knows.
    """

    quantity: int
    single_part: bool
    priority: int
    due_date: UtcDateTime | None = None
    expected_arrival: UtcDateTime | None = None
    arrived: int = 0
    accepted_quantity: int | None = None
    ticket: int = 1
    allotment: Allotment | None = None
    confirmation_recorded: bool = False
    hold_reason: str | None = None
    release_error: str | None = None
    delivery_number: int = 1
    failures: int = 0
    late_at: UtcDateTime | None = None
    late_told: bool = False
    last_refusal: str | None = None
    acceptance: PendingAcceptance | None = None
    acceptances: int = 0
    tokens: list[str] = Field(default_factory=list)
    ready: PartReady | None = None
    announced: bool = False
    receipt_hash: str | None = None
    cancelled: bool = False

    @classmethod
    def of(cls, po: SmartClientPO) -> Self:
        """The life of a PO that was just staged."""
        return cls(
            quantity=po.quantity,
            single_part=po.part_id is not None,
            priority=po.priority,
            due_date=po.due_date,
            expected_arrival=po.expected_arrival,
        )

    def hold(self, reason: str) -> None:
        """One more reason to wait; a resume answers for all of them, so it must see all of them."""
        self.hold_reason = reason if self.hold_reason is None else excerpt(f"{self.hold_reason}; {reason}")

    @property
    def status(self) -> ClientPOStatus:
        """The queue state, derived."""
        if self.cancelled:
            return ClientPOStatus.CANCELLED
        if self.receipt_hash is not None:
            return ClientPOStatus.RELEASED
        if self.hold_reason is not None:
            return ClientPOStatus.HOLD
        if self.allotment is None:
            return ClientPOStatus.AWAITING_ARRIVAL
        if self.confirmation_recorded:
            return ClientPOStatus.READY_FOR_RELEASE
        return ClientPOStatus.ARRIVAL_CONFIRMED

    @property
    def ended(self) -> bool:
        """Released or cancelled: nothing more can be asked of it."""
        return self.status in TERMINAL

    @property
    def may_release(self) -> bool:
        """Everything is confirmed and no refusal of the node waits for a person."""
        return self.status is ClientPOStatus.READY_FOR_RELEASE and self.release_error is None

    @property
    def needed(self) -> int:
        """How many parts confirm it."""
        return self.accepted_quantity or self.quantity

    def refusal(self, request: Request) -> str | None:
        """Why a request is not possible now, in words for the person who asked; None where it is."""
        if self.ended:
            return f"the PO is {self.status}: nothing can be changed any more"
        match request:
            case HoldRequest() if self.hold_reason is not None:
                return f"the PO is already on hold: {self.hold_reason}"
            case ResumeRequest() if self.hold_reason is None:
                return f"the PO is not on hold, it is {self.status}"
            case RetryRequest() if self.status is not ClientPOStatus.READY_FOR_RELEASE:
                return f"only a PO that is ready_for_release can be retried, this one is {self.status}"
            case AcceptQuantityRequest():
                return self._acceptance_refusal(request)
        return None

    def _acceptance_refusal(self, request: AcceptQuantityRequest) -> str | None:
        if self.single_part:
            return "a part_id is one part: fewer cannot be accepted"
        if self.allotment is not None:
            return "the arrival is already confirmed"
        if self.acceptance is not None:
            return f"{self.acceptance.approval_id} already asks for {self.acceptance.quantity}"
        quantity = request.quantity or self.arrived
        if not 0 < quantity < self.quantity:
            return f"accept between 1 and {self.quantity - 1} parts; {self.arrived} of {self.quantity} are there"
        return None


class ClientPOStart(Model):
    """Input of a `ClientPOWorkflow`. `release_alert_after` and `unclaimed_after` are seconds.

    `life`, and `signals`, how many were handled so far, travel through continue-as-new.
    """

    document: dict[str, Any]
    document_hash: str
    staged_at: UtcDateTime
    release_alert_after: int
    unclaimed_after: int
    life: ClientPOLife | None = None
    signals: int = 0


LATE, REFUSED = "late", "refused"
"""What a release fails by: its node does not take the PO, or will not."""


def release_failure(smart_contract_id: str, what: str) -> str:
    """The cause of its alert: `LATE` and `REFUSED` are two, because what a person must do differs."""
    return cause_of("release_failed", smart_contract_id, what)


def acceptance_wanted(smart_contract_id: str, quantity: int, ordered: int) -> Wanted:
    """The decision by which a person asks that fewer parts be accepted."""
    return Wanted(
        workflow_id=names.client_po_id(smart_contract_id),
        content_hash=content_hash(smart_contract_id, accepted=quantity, ordered=ordered),
        decisions=(names.ACCEPT_QUANTITY,),
        permission=Permission.PO_AMEND,
        signs_record=False,
    )


def acceptance_id(smart_contract_id: str, number: int) -> str:
    """The approval that is asked the `number`th time."""
    return f"{smart_contract_id}.fewer-parts.{number}"


def acceptance_request(
    po: SmartClientPO, number: int, *, quantity: int, reason: str, requested_by: str
) -> ApprovalRequest:
    """What a second person is asked."""
    name = po.smart_contract_id
    return ApprovalRequest(
        approval_id=acceptance_id(name, number),
        request_type=ApprovalType.FEWER_PARTS,
        subject=name,
        requested_by=requested_by,
        changes=(Difference(field="parts that confirm it", before=po.quantity, after=quantity),),
        reason=reason,
        wakes=names.client_po_id(name),
    )


def outlook(
    status: ClientPOStatus,
    *,
    part: str,
    arrived: int,
    quantity: int,
    place: str | None,
    node: str,
    hold_reason: str | None,
    release_error: str | None,
    pending_approval: str | None = None,
) -> Outlook:
    """The same sentence for the API and the Temporal Web UI."""
    match status:
        case ClientPOStatus.AWAITING_ARRIVAL:
            where = f" at {place}" if place else ""
            return Outlook(
                waits_for=f"part {part}{where}: {arrived} of {quantity} there",
                moved_on_by=f"an arrival broadcast for {part}"
                + (f", or whoever answers the approval {pending_approval}" if pending_approval else "")
                + (", or a person who accepts fewer" if quantity > 1 and not pending_approval else ""),
            )
        case ClientPOStatus.ARRIVAL_CONFIRMED:
            return Outlook(waits_for="the ledger to record the arrival", moved_on_by="the ledger coming back")
        case ClientPOStatus.READY_FOR_RELEASE if release_error:
            return Outlook(
                waits_for=f"a person: the release to {node} failed: {release_error}",
                moved_on_by="whoever mends the cause and retries",
            )
        case ClientPOStatus.READY_FOR_RELEASE:
            return Outlook(waits_for=f"node {node} to take it", moved_on_by=f"the worker of node {node}")
        case ClientPOStatus.HOLD:
            return Outlook(waits_for=f"a resume; on hold: {hold_reason}", moved_on_by="whoever may resume it")
        case ClientPOStatus.RELEASED:
            return Outlook(waits_for=f"nothing: released to {node}", moved_on_by="nobody")
        case ClientPOStatus.CANCELLED:
            return Outlook(waits_for="nothing: cancelled", moved_on_by="nobody")
