"""The SmartClientPO (specification 1): the contract as it is staged, its states, and what is asked of it."""

from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Annotated, Any, Self

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
from schemas.base import Identifier, Partial, Text, UtcDateTime
from schemas.part_arrival import needs_a_part, one_part_is_one
from schemas.permission import Permission, Role, may
from schemas.request import Reasoned, Request, Retrial
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


REQUESTS: dict[str, type[Request]] = {
    names.HOLD: HoldRequest,
    names.RESUME: ResumeRequest,
    names.CANCEL: CancelRequest,
    names.RETRY: RetryRequest,
    names.AMEND: AmendRequest,
    names.ACCEPT_QUANTITY: AcceptQuantityRequest,
}
