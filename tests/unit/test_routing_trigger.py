"""The routing trigger is read when the contract is staged, and nothing in it is guessed."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.faults import faults
from schemas.routing import RoutingTrigger, RoutingType

ONWARD = {"type": "next_node", "next_station": "NODE-2", "next_contract": "SC-2.yaml"}


class TestARoutingTrigger:
    @pytest.mark.parametrize(
        "document",
        [
            ONWARD,
            {**ONWARD, "vault_transfer": True, "is_final_contract": False},
            {"type": "workflow_complete"},
            {"type": "workflow_complete", "vault_transfer": True, "is_final_contract": True},
        ],
    )
    def test_is_taken(self, document: dict[str, Any]) -> None:
        trigger = RoutingTrigger.model_validate(document)
        assert trigger.type is RoutingType(document["type"])
        assert trigger.vault_transfer is True

    def test_keeps_fields_that_nobody_knows(self) -> None:
        assert RoutingTrigger.model_validate({**ONWARD, "courier": "Bo"}).model_dump()["courier"] == "Bo"

    @pytest.mark.parametrize(
        ("document", "field"),
        [
            ({}, "type"),
            ({"type": None}, "type"),
            ({"type": "to_the_moon"}, "type"),
            ({"type": "next_node"}, "next_station"),
            ({"type": "next_node", "next_station": "NODE-2"}, "next_contract"),
            ({**ONWARD, "next_contract": " "}, "next_contract"),
            ({**ONWARD, "next_station": "no/slash"}, "next_station"),
            ({**ONWARD, "vault_transfer": False}, "vault_transfer"),
            ({**ONWARD, "vault_transfer": None}, "vault_transfer"),
            ({**ONWARD, "is_final_contract": True}, "is_final_contract"),
            ({"type": "workflow_complete", "next_station": "NODE-2"}, "next_station"),
            ({"type": "workflow_complete", "next_contract": "SC-2.yaml"}, "next_contract"),
            ({"type": "workflow_complete", "is_final_contract": False}, "is_final_contract"),
            ({"type": "workflow_complete", "vault_transfer": False}, "vault_transfer"),
        ],
    )
    def test_is_refused_at_the_field_at_fault(self, document: dict[str, Any], field: str) -> None:
        with pytest.raises(ValidationError) as error:
            RoutingTrigger.model_validate(document)
        assert field in {fault.field for fault in faults(error.value)}
