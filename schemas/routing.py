"""The routing trigger at the bottom of a SmartClientPO, and how it is read (specification 2, "Contract Chaining")."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from schemas.base import Identifier, Model, Text


class RoutingType(StrEnum):
    """Where a completed contract goes besides the vault."""

    NEXT_NODE = "next_node"
    WORKFLOW_COMPLETE = "workflow_complete"


DOCUMENT_ENDING = ".yaml"


def document_name(named: str) -> str:
    """A trigger, and whoever asks the contract store, may name a contract with the ending of its file."""
    return named.removesuffix(DOCUMENT_ENDING)


class RoutingTrigger(BaseModel):
    """Read when the contract is staged, so that a chain never ends for want of a default.

    `vault_transfer` may be left out or true: results always go to the vault.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    type: RoutingType
    next_station: Annotated[Identifier | None, Field(validate_default=True)] = None
    next_contract: Annotated[Text | None, Field(validate_default=True)] = None
    vault_transfer: Literal[True] = True
    is_final_contract: bool | None = None

    @field_validator("next_station", "next_contract")
    @classmethod
    def _onward(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("type")
        if kind is RoutingType.NEXT_NODE and value is None:
            raise ValueError("type next_node needs next_station and next_contract")
        if kind is RoutingType.WORKFLOW_COMPLETE and value is not None:
            raise ValueError("type workflow_complete contradicts it: leave it out")
        return value

    @field_validator("is_final_contract")
    @classmethod
    def _final(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        kind = info.data.get("type")
        if kind is not None and value is not None and value is not (kind is RoutingType.WORKFLOW_COMPLETE):
            raise ValueError(f"type {kind.value} contradicts it")
        return value


class Routing(Model):
    """The specification's `read_routing_trigger`."""

    routing_type: RoutingType
    next_station: str | None
    next_contract: str | None
    vault_transfer: bool
    workflow_complete: bool
    is_final_contract: bool


def read_routing_trigger(trigger: dict[str, Any]) -> Routing:
    """The next step of a completed contract; raises `ValidationError` where the trigger is none."""
    read = RoutingTrigger.model_validate(trigger)
    complete = read.type is RoutingType.WORKFLOW_COMPLETE
    return Routing(
        routing_type=read.type,
        next_station=read.next_station,
        next_contract=read.next_contract,
        vault_transfer=read.vault_transfer,
        workflow_complete=complete,
        is_final_contract=complete,
    )
