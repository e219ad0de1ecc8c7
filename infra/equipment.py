"""The gate before a test: no test runs on equipment that is missing, not fit, or not calibrated."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Protocol

from pydantic import ValidationError

from infra.node_maintenance import NodeMaintenance
from infra.node_rows import Known
from schemas.base import excerpt
from schemas.client_po import Equipment, SmartClientPO
from schemas.equipment import CalibrationResult, ContractInForce, LastCheck, Standing
from schemas.gate import BeginTest, GateAnswer, InstrumentCheck, ReliedOn
from schemas.node import NodeDelivery
from schemas.test_results import Begun, Instrument

NOT_FOUND = "not_found"
"""Status of an instrument that the node's register does not have (specification 4, `link_contract_to_clientpo`)."""


class NotHeard(Exception):
    """The hub knows more of the register than the node: the same question again, once the node has heard it."""


class Gate(Protocol):
    """Lets a test begin, or says everything that is missing; it never raises for what a person must mend.

    Raises `NotHeard` where the node must hear of the register first.
    """

    def begin(self, delivery: NodeDelivery, begin: BeginTest) -> GateAnswer: ...

    def flags(self, begun: Begun, at: datetime) -> tuple[str, ...]:
        """Sentences on the instruments of a test that are not fit any more when its results are given."""
        ...


class MaintenanceGate:
    """A gate over the node's own register, contracts and checks."""

    def __init__(self, maintenance: NodeMaintenance) -> None:
        self._maintenance = maintenance

    def begin(self, delivery: NodeDelivery, begin: BeginTest) -> GateAnswer:
        """Freezes the named instruments where all that the contract needs is among them, and all of them are ready.

        A calibration that is expiring soon lets the test begin. What counts is when the node answers, not when it was
        asked: it may have been away. A node's clock that is behind opens nothing that was shut at `begin.at`.
        """
        at = max(begin.at, self._maintenance.now())
        revision = self._maintenance.register_revision()  # what is looked at below is at least as new
        if revision < begin.register_revision:
            raise NotHeard(f"the register is known up to {revision} here, at the hub up to {begin.register_revision}")
        try:
            po = SmartClientPO.model_validate(delivery.document)
        except ValidationError as error:
            return GateAnswer(missing=(excerpt(f"the contract that the node holds cannot be read: {error}"),))
        named = sorted(set(begin.instruments))
        node = self._maintenance.node
        known = self._maintenance.known(named)
        found = {name: each.standing(node, at) for name, each in known.items()}
        missing: list[str] = []
        for name in named:
            missing += found[name].missing if name in found else [_unknown(name, node.node_id)]
        types = {name: each.equipment_type for name, each in found.items()}
        missing += _uncovered((item for test in po.tests for item in test.equipment), named, types)
        checks = tuple(_check(name, known.get(name), found.get(name)) for name in named)
        if missing:
            return GateAnswer(missing=tuple(missing), checks=checks, register_revision=revision)
        begun = Begun(
            performer=begin.performer,
            started_at=at,
            instruments=tuple(_frozen(found[name]) for name in named),
            document_hash=delivery.document_hash,
        )
        return GateAnswer(begun=begun, checks=checks, register_revision=revision)

    def flags(self, begun: Begun, at: datetime) -> tuple[str, ...]:
        """Those that are past their due date, out of service or elsewhere by now, or failed a calibration."""
        known = self._maintenance.known(instrument.equipment_id for instrument in begun.instruments)
        node = self._maintenance.node
        unfit = (flag for now in known.values() for flag in _unfit(now, node.node_id))
        return (*begun.overdue(node.day(at)), *unfit)


def _unknown(name: str, node_id: str) -> str:
    return f"{name} is not in the register of {node_id}: have it registered, or name another"


def _frozen(found: Standing) -> Instrument:
    """As results cite it."""
    return Instrument(
        equipment_id=found.equipment_id,
        equipment_type=found.equipment_type,
        certificate=found.certificate_number,
        calibrated_on=found.calibrated_on,
        due_on=found.due_on,
    )


def _check(name: str, known: Known | None, found: Standing | None) -> InstrumentCheck:
    if known is None or found is None:
        return InstrumentCheck(equipment_id=name, status=NOT_FOUND, calibration_valid=False, ready=False)
    return InstrumentCheck(
        equipment_id=name,
        description=known.item.description,
        status=found.state,
        calibration_valid=found.calibration_valid,
        ready=found.ready,
        contracts=tuple(_relied_on(each, known.checks) for each in known.contracts),
    )


def _relied_on(each: ContractInForce, checks: Mapping[tuple[str, str], LastCheck]) -> ReliedOn:
    contract_id = each.contract.smart_contract_id
    done = tuple(check for check in checks.values() if check.contract_id == contract_id)
    return ReliedOn(contract_id=contract_id, version=each.version, checks=done)


def _unfit(now: Known, node_id: str) -> Iterator[str]:
    """Known when the node keeps the results; it may have been so only after they were measured, or given."""
    name = now.item.equipment_id
    if now.item.out_of_service is not None:
        yield f"{name} was out of service when the node kept the results: {now.item.out_of_service}"
    if now.item.node_id != node_id:
        yield f"{name} was at {now.item.node_id}, not at {node_id}, when the node kept the results"
    if now.last is not None and now.last.result is CalibrationResult.FAILED:
        yield (
            f"{name} failed its calibration of {now.last.calibrated_on} ({now.last.certificate_number}), as the node"
            " knew when it kept the results"
        )


def _uncovered(needed: Iterable[Equipment], named: Iterable[str], types: Mapping[str, str]) -> Iterable[str]:
    """What the contract needs and nobody named, each once; `types` are those of what is named and known."""
    for equipment_id, equipment_type in dict.fromkeys((item.equipment_id, item.equipment_type) for item in needed):
        if equipment_id is None:
            if equipment_type not in types.values():
                yield f"the contract needs a {equipment_type}, and none is named"
        elif equipment_id not in named:
            yield f"the contract needs {equipment_id}, which is not named"
        elif equipment_type is not None and types.get(equipment_id, equipment_type) != equipment_type:
            yield f"the contract needs {equipment_id} as {equipment_type}, and it is a {types[equipment_id]}"
