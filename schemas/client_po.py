"""The SmartClientPO and the rules of its life from staging to release (specification 1).

The state is derived, never stored beside what it follows from: a PO is on hold because somebody gave a reason, and
its arrival is confirmed because it has an allotment. `arrival_confirmed` is the moment between the matching and the
committed `confirm_arrival` entry; with that entry nothing else has to be confirmed, and the PO is
`ready_for_release` until its node has taken it. So a row passes from `awaiting_arrival` to `ready_for_release`,
and `arrival_confirmed` is seen there only where the ledger is late.
"""

from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from schemas import names
from schemas.alert import cause_of
from schemas.approval import ApprovalRequest, ApprovalType, Difference
from schemas.base import Identifier, Model, Partial, Text, UtcDateTime, excerpt
from schemas.decision import Wanted, content_hash
from schemas.node import PartReady
from schemas.part_arrival import Allotment, needs_a_part, one_part_is_one
from schemas.permission import Permission, Role, may
from schemas.routing import RoutingTrigger


class ClientPOStatus(StrEnum):
    """The specification's five queue states, and `cancelled`."""

    AWAITING_ARRIVAL = "awaiting_arrival"
    ARRIVAL_CONFIRMED = "arrival_confirmed"
    READY_FOR_RELEASE = "ready_for_release"
    RELEASED = "released"
    HOLD = "hold"
    CANCELLED = "cancelled"


TERMINAL = frozenset({ClientPOStatus.RELEASED, ClientPOStatus.CANCELLED})


def _end_of_day(value: Any) -> Any:
    """A due date without a time is due through that day (UTC)."""
    if isinstance(value, str) and len(value) == len("2026-01-31"):
        return datetime.combine(date.fromisoformat(value), time(23, 59, 59), UTC)
    return value


def _start_of_day(value: Any) -> Any:
    if isinstance(value, str) and len(value) == len("2026-01-31"):
        return datetime.combine(date.fromisoformat(value), time(), UTC)
    return value


DueDate = Annotated[UtcDateTime, BeforeValidator(_end_of_day)]
ExpectedArrival = Annotated[UtcDateTime, BeforeValidator(_start_of_day)]
Priority = Annotated[StrictInt, Field(ge=1, le=4)]
Quantity = Annotated[StrictInt, Field(ge=1, le=1_000_000)]


class _Document(BaseModel):
    """Part of a client's document: fields that are not known here are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Procedure(_Document):
    """The test procedure and the revision that was ordered."""

    procedure_id: Text = Field(validation_alias=AliasChoices("procedure_id", "id", "name"))
    revision: Annotated[str, Field(min_length=1, max_length=100)]


class Equipment(_Document):
    """An instrument that the test needs: one by its ID (also as a bare text), or any of a type."""

    equipment_id: Identifier | None = None
    equipment_type: Identifier | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_its_id(cls, value: Any) -> Any:
        return {"equipment_id": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.equipment_id is None and self.equipment_type is None:
            raise ValueError("name an equipment_id or an equipment_type")
        return self


class RequiredTest(_Document):
    """One test of a contract."""

    test_id: Identifier
    test_type: Text
    assigned_node: Identifier
    procedure: Procedure
    required_signoffs: Annotated[tuple[Text, ...], Field(min_length=1)]
    equipment: tuple[Equipment, ...]

    @field_validator("assigned_node")
    @classmethod
    def _registered(cls, node: str, info: ValidationInfo) -> str:
        """Where the caller gives the registry as context `nodes`, the node must be in it."""
        if info.context is not None and node not in info.context["nodes"]:
            raise ValueError(f"node {node!r} is not in the registry")
        return node

    @field_validator("required_signoffs")
    @classmethod
    def _can_be_given(cls, roles: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """At staging alone: what was staged before is not refused for it."""
        if info.context is None:
            return roles
        possible = [role.value for role in Role if may(role, Permission.TEST_SIGN)]
        if impossible := [role for role in roles if role not in possible]:
            raise ValueError(f"{', '.join(impossible)}: cannot sign; possible are {', '.join(possible)}")
        if len(set(roles)) < len(roles):
            raise ValueError("each role stands once: it signs once for a test")
        return roles


class SmartClientPO(_Document):
    """A contract from the Business Hub. `priority`: 1 rush, 2 high, 3 normal, 4 low."""

    smart_contract_id: Identifier
    contract_type: Text
    clientpo_id: Identifier
    client: Text
    part_id: Identifier | None = None
    part_number: Annotated[Identifier | None, Field(validate_default=True)] = None
    quantity: Quantity = 1
    priority: Priority = 3
    due_date: DueDate | None = None
    expected_arrival: ExpectedArrival | None = None
    arrival_location: Text | None = None
    sequence_number: Annotated[StrictInt, Field(ge=1, le=10_000)] = 1
    tests: tuple[RequiredTest, ...]
    routing_trigger: RoutingTrigger

    @field_validator("part_number")
    @classmethod
    def _names_a_part(cls, part_number: str | None, info: ValidationInfo) -> str | None:
        return needs_a_part(part_number, info)

    @field_validator("quantity")
    @classmethod
    def _one_part_is_one(cls, quantity: int, info: ValidationInfo) -> int:
        return one_part_is_one(quantity, info)

    @field_validator("tests")
    @classmethod
    def _one_contract(cls, tests: tuple[RequiredTest, ...]) -> tuple[RequiredTest, ...]:
        if not tests:
            raise ValueError("a contract has at least one test")
        if len({test.assigned_node for test in tests}) > 1:
            raise ValueError("all tests of a contract name one assigned_node")
        if len({test.test_id for test in tests}) < len(tests):
            raise ValueError("each test_id stands once in a contract")
        return tests

    @property
    def target_node(self) -> str:
        """The node that the contract names; the coordinator decides nothing about it."""
        return self.tests[0].assigned_node

    @property
    def arrival_place(self) -> str | None:
        """Where the part must be: a location, or None for any place that is not a node.

        A first contract takes any place that is not a node, a chained one its own node, unless
        `arrival_location` says otherwise.
        """
        if self.arrival_location is not None:
            return self.arrival_location
        return self.target_node if self.sequence_number > 1 else None

    @property
    def part(self) -> str:
        """What people call the part: its `part_id`, else its `part_number`."""
        return self.part_id or self.part_number or ""


class Reasoned(Model):
    """What a person asks for, and why. Over HTTP their token says who they are."""

    reason: Text


class Retrial(Reasoned):
    """A reason, for what needs none."""

    reason: Text = "retry"


class Amendment(Reasoned, Partial):
    """Changes terms before release: only the fields that are given; None takes a date away."""

    priority: Priority | None = None
    due_date: DueDate | None = None
    expected_arrival: ExpectedArrival | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.terms():
            raise ValueError("give at least one of priority, due_date, expected_arrival")
        if "priority" in self.model_fields_set and self.priority is None:
            raise ValueError("priority: give a number from 1 (rush) to 4 (low)")
        return self

    def terms(self) -> dict[str, Any]:
        """The fields that are to change, with their new values."""
        fields = ("priority", "due_date", "expected_arrival")
        return {name: getattr(self, name) for name in fields if name in self.model_fields_set}


class Acceptance(Reasoned):
    """Accepts fewer parts than ordered; without a `quantity`, those that are there now."""

    quantity: Quantity | None = None


class Request(Reasoned):
    """What a workflow is asked; `user_id` is who asks. A signal from the Temporal UI may leave it out."""

    user_id: Identifier = "unidentified"


class HoldRequest(Request):
    """Keeps a PO from being released; its place in the line and its parts stay."""


class ResumeRequest(Request):
    """Ends a hold."""


class CancelRequest(Request):
    """Ends the PO and gives its parts back to the next in line."""


class RetryRequest(Retrial, Request):
    """Tries a release again at once."""


class AmendRequest(Amendment, Request):
    """An amendment and who asks for it."""


class AcceptQuantityRequest(Acceptance, Request):
    """An acceptance and the decision token of who gives it; it takes effect when a second person approves."""

    token: str | None = None


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


class Outlook(Model):
    """What something waits for and who can move it on, in words."""

    waits_for: str
    moved_on_by: str


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


REQUESTS: dict[str, type[Request]] = {
    names.HOLD: HoldRequest,
    names.RESUME: ResumeRequest,
    names.CANCEL: CancelRequest,
    names.RETRY: RetryRequest,
    names.AMEND: AmendRequest,
    names.ACCEPT_QUANTITY: AcceptQuantityRequest,
}
