"""The gate before a test: what a node is asked, and what it found of the equipment (specification 4)."""

from typing import Annotated, Any

from pydantic import Field

from schemas.base import Identifier, Model, UtcDateTime
from schemas.client_po import SmartClientPO
from schemas.equipment import LastCheck
from schemas.maintenance import Version
from schemas.test_results import Begun


class BeginTest(Model):
    """Asks a node to begin: its gate looks at what the contract needs and the performer names. `at` is when it asks.

    `register_revision` is the change of the register that the node must have heard of before it answers.
    """

    smart_contract_id: Identifier
    performer: Identifier
    instruments: tuple[Identifier, ...]
    at: UtcDateTime
    register_revision: int = 0


class ReliedOn(Model):
    """A version of a contract that was in force for an instrument, with the last time that each of its checks was done.

    One that was not done since the instrument came to the node is not there.
    """

    contract_id: Identifier
    version: Version
    checks: tuple[LastCheck, ...] = ()


class InstrumentCheck(Model):
    """What the gate found of one instrument, in the words of specification 4, `link_contract_to_clientpo`.

    `contracts` are those that it was judged by. Left out where there are none: what was written before they were named
    keeps its bytes.
    """

    equipment_id: str
    description: str | None = None
    status: str
    calibration_valid: bool
    ready: bool
    contracts: Annotated[tuple[ReliedOn, ...], Field(exclude_if=lambda contracts: not contracts)] = ()


class GateAnswer(Model):
    """Begun, or everything that is missing, in words; and what was found of each instrument.

    `register_revision` is the last change of the register that the node had heard of. (None stands in histories of a
    time when nodes did not say.)
    """

    begun: Begun | None = None
    missing: tuple[str, ...] = ()
    checks: tuple[InstrumentCheck, ...] = ()
    register_revision: int | None = None


def validation_results(po: SmartClientPO, answer: GateAnswer) -> dict[str, Any]:
    """As specification 4, `link_contract_to_clientpo`, has it, with what is missing in words."""
    needed = (item for test in po.tests for item in test.equipment)
    return {
        "clientpo_id": po.clientpo_id,
        "smart_contract_id": po.smart_contract_id,
        "required_equipment": list(dict.fromkeys(item.equipment_id or item.equipment_type for item in needed)),
        "validation_checks": [check.model_dump(mode="json", exclude_none=True) for check in answer.checks],
        "all_equipment_ready": answer.begun is not None,
        "missing": list(answer.missing),
    }
