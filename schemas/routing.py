"""The routing trigger at the bottom of a SmartClientPO (specification 2, "Contract Chaining")."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from schemas.base import Identifier, Text


class RoutingType(StrEnum):
    """Where a completed contract goes besides the vault."""

    NEXT_NODE = "next_node"
    WORKFLOW_COMPLETE = "workflow_complete"


class RoutingTrigger(BaseModel):
    """Read when the contract is staged, so that a chain never ends for want of a default.

    `vault_transfer` may be left out or true: results always go to the vault.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    type: RoutingType
    next_station: Identifier | None = None
    next_contract: Text | None = None
    vault_transfer: Literal[True] = True
    is_final_contract: bool | None = None

    @model_validator(mode="after")
    def _not_contradictory(self) -> Self:
        onward = self.next_station is not None or self.next_contract is not None
        if self.type is RoutingType.NEXT_NODE:
            if self.next_station is None or self.next_contract is None:
                raise ValueError("type next_node needs next_station and next_contract")
            if self.is_final_contract:
                raise ValueError("type next_node contradicts is_final_contract: true")
        elif onward:
            raise ValueError("type workflow_complete contradicts next_station and next_contract: leave them out")
        elif self.is_final_contract is False:
            raise ValueError("type workflow_complete contradicts is_final_contract: false")
        return self
