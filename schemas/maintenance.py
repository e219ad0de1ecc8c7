"""SmartMaintenance contracts: what equipment must have behind it before it tests (specifications 3 and 4).

One schema for the hub that makes a contract and for the nodes that execute it. A contract holds logic only: its
version is the folder that it lies in, and which instruments there are, with their certificates, says the register.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from schemas.base import Identifier, Measured, Model, Text
from schemas.calibration import WARNING_DAYS
from schemas.faults import faults

Version = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,3}\.[0-9]{1,4}$")]
"""As the folders of the policy repository are called, without their `v`."""

FIRST_VERSION = "1.0"


class Condition(StrEnum):
    """What must hold before a test (specification 3, "SmartMaintenance Contract Creation")."""

    MUST_CALIBRATE = "must-calibrate-before-test"
    ACKNOWLEDGE = "require-maintenance-acknowledgement"


class StepKind(StrEnum):
    """How a step of a check is done: a reading meets its rule; the others are confirmed by a named person."""

    READING = "reading"
    VISUAL = "visual"
    ACKNOWLEDGEMENT = "acknowledgement"


class ValidationRule(Model):
    """What a reading must meet; limits are included."""

    unit: Annotated[Text, Field(max_length=100)]
    minimum: Measured | None = None
    maximum: Measured | None = None


class CheckStep(Model):
    """One step. `rule` names the validation rule of a reading, `opcua_node` (such as `ns=2;s=UV.Intensity`) where the
    machine itself gives it."""

    step_id: Identifier
    description: Text
    kind: StepKind
    rule: Identifier | None = None
    opcua_node: Text | None = None


Every = Literal["shift", "day"] | Annotated[int, Field(strict=True, ge=1, le=3660)]
"""How often a check is due: each shift, each day, or every so many days; shifts and days are those of the node."""

CHECKLIST = "checklist"
"""The check type of a contract's checklist."""


class MaintenanceProcedure(Model):
    """A check that is due again and again, as the process checks of ASTM E1417 and E1444 are."""

    title: Text
    every: Every
    steps: Annotated[tuple[CheckStep, ...], Field(min_length=1, max_length=100)]


class MaintenanceContract(Model):
    """`{station_type}-{name}`; specification 3, "Example Code Structure", and 4, "load_maintenance_contracts"."""

    smart_contract_id: Identifier
    contract_type: Literal["SmartMaintenance"] = "SmartMaintenance"
    title: Text
    description: Text
    equipment_types: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=50)]
    conditions: tuple[Condition, ...] = ()
    calibration_interval_days: Annotated[int, Field(strict=True, ge=1, le=36500)] | None = None
    warning_days: Annotated[int, Field(strict=True, ge=0, le=3650)] = WARNING_DAYS
    checklist_steps: Annotated[tuple[CheckStep, ...], Field(max_length=100)] = ()
    checklist_every: Every = "shift"
    maintenance_procedures: Annotated[dict[Identifier, MaintenanceProcedure], Field(max_length=50)] = Field(
        default_factory=dict
    )
    validation_rules: Annotated[dict[Identifier, ValidationRule], Field(max_length=100)] = Field(default_factory=dict)

    def procedure(self, check_type: str) -> MaintenanceProcedure | None:
        """What a check of this type consists of; the checklist is one of them. None where there is none."""
        if check_type == CHECKLIST and self.checklist_steps:
            return MaintenanceProcedure(title="Checklist", every=self.checklist_every, steps=self.checklist_steps)
        return self.maintenance_procedures.get(check_type)

    def asks(self, check_type: str, equipment_type: str) -> bool:
        """Whether equipment of this type can be checked in this way."""
        return equipment_type in self.equipment_types and self.procedure(check_type) is not None

    @property
    def check_types(self) -> tuple[str, ...]:
        """All that can be checked; the checklist may be done also where no condition asks for it."""
        return (*self.maintenance_procedures, *([CHECKLIST] if self.checklist_steps else []))

    @property
    def required_checks(self) -> dict[str, MaintenanceProcedure]:
        """By check type, what must have been done for the equipment to be ready."""
        required = dict(self.maintenance_procedures)
        if Condition.ACKNOWLEDGE in self.conditions and (checklist := self.procedure(CHECKLIST)):
            required[CHECKLIST] = checklist
        return required


def station_type(smart_contract_id: str) -> str:
    """The type of the stations that a maintenance contract is for: what its ID begins with."""
    return smart_contract_id.partition("-")[0]


class Validation(Model):
    """Every fault of a draft, by what it is a fault of (specification 3, `validate_contract_logic`)."""

    structure: tuple[str, ...] = ()
    logic: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        return not (self.structure or self.logic or self.conditions)

    @property
    def faults(self) -> tuple[str, ...]:
        return (*self.structure, *self.logic, *self.conditions)


def validate(document: dict[str, Any]) -> Validation:
    """All that is wrong with a document; logic and conditions can only be judged where the structure is right."""
    try:
        contract = MaintenanceContract.model_validate(document)
    except ValidationError as error:
        return Validation(structure=tuple(str(fault) for fault in faults(error)))
    return Validation(logic=tuple(_logic(contract)), conditions=tuple(_conditions(contract)))


def _logic(contract: MaintenanceContract) -> Iterator[str]:
    """What a check could never find out, or would find out for nothing."""
    interval = contract.calibration_interval_days
    if interval is not None and contract.warning_days > interval:
        yield f"warning_days: {contract.warning_days} is above the interval of {interval} days: it would always warn"
    for name, rule in contract.validation_rules.items():
        if rule.minimum is None and rule.maximum is None:
            yield f"validation_rules.{name}: give a minimum or a maximum, else every reading meets it"
        elif rule.minimum is not None and rule.maximum is not None and rule.minimum > rule.maximum:
            yield f"validation_rules.{name}: its minimum {rule.minimum} is above its maximum {rule.maximum}"
    used: set[str] = set()
    for check_type, steps in _checks(contract):
        known: set[str] = set()
        for step in steps:
            where = f"{check_type}.{step.step_id}"
            if step.step_id in known:
                yield f"{where}: each step_id stands once in a check"
            known.add(step.step_id)
            if step.rule is not None:
                used.add(step.rule)
            yield from _step(contract, where, step)
    if CHECKLIST in contract.maintenance_procedures:
        yield f"maintenance_procedures.{CHECKLIST}: the checklist has its own field, checklist_steps"
    for name in sorted(contract.validation_rules.keys() - used):
        yield f"validation_rules.{name}: no step uses it"


def _step(contract: MaintenanceContract, where: str, step: CheckStep) -> Iterator[str]:
    if step.kind is StepKind.READING:
        if step.rule is None:
            yield f"{where}: a reading names the validation rule that it must meet"
        elif step.rule not in contract.validation_rules:
            yield f"{where}: there is no validation rule {step.rule}"
    elif step.rule is not None or step.opcua_node is not None:
        yield f"{where}: only a reading has a rule or an opcua_node, a person confirms this one"


def _conditions(contract: MaintenanceContract) -> Iterator[str]:
    if Condition.MUST_CALIBRATE in contract.conditions and contract.calibration_interval_days is None:
        yield f"{Condition.MUST_CALIBRATE}: give calibration_interval_days, else nothing says when it is due"
    if Condition.MUST_CALIBRATE not in contract.conditions and contract.calibration_interval_days is not None:
        yield (
            f"calibration_interval_days: add the condition {Condition.MUST_CALIBRATE}, else what was never calibrated"
            " would test"
        )
    if Condition.ACKNOWLEDGE in contract.conditions and not contract.checklist_steps:
        yield f"{Condition.ACKNOWLEDGE}: give checklist_steps, else there is nothing to acknowledge"
    if Condition.ACKNOWLEDGE not in contract.conditions and contract.checklist_steps:
        yield f"checklist_steps: nobody has to do them without the condition {Condition.ACKNOWLEDGE}"
    if not contract.conditions and not contract.maintenance_procedures:
        yield "conditions: the contract asks for nothing"


def _checks(contract: MaintenanceContract) -> Iterator[tuple[str, tuple[CheckStep, ...]]]:
    yield CHECKLIST, contract.checklist_steps
    for check_type, procedure in contract.maintenance_procedures.items():
        yield check_type, procedure.steps


# --- the life of a version ---------------------------------------------------------------------------------------


class ContractStatus(StrEnum):
    """Specification 3, "SmartMaintenance Contract States"."""

    DRAFT = "draft"
    VALIDATED = "validated"
    DEPLOYED = "deployed"
    ACTIVE = "active"
    MONITORING = "monitoring"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"


NEXT: dict[ContractStatus, frozenset[ContractStatus]] = {
    ContractStatus.DRAFT: frozenset({ContractStatus.VALIDATED, ContractStatus.DEPRECATED}),
    ContractStatus.VALIDATED: frozenset({ContractStatus.DEPLOYED, ContractStatus.DEPRECATED}),
    ContractStatus.DEPLOYED: frozenset({ContractStatus.ACTIVE, ContractStatus.DEPRECATED}),
    ContractStatus.ACTIVE: frozenset({ContractStatus.MONITORING, ContractStatus.DEPRECATED}),
    ContractStatus.MONITORING: frozenset({ContractStatus.ACTIVE, ContractStatus.DEPRECATED}),
    ContractStatus.DEPRECATED: frozenset({ContractStatus.ARCHIVED}),
    ContractStatus.ARCHIVED: frozenset(),
}
"""There is no other way between them."""

IN_FORCE = (ContractStatus.DEPLOYED, ContractStatus.ACTIVE, ContractStatus.MONITORING)
"""States in which nodes execute a version, or are about to."""

RETIRED = (ContractStatus.DEPRECATED, ContractStatus.ARCHIVED)
"""States in which nodes end a version, or have ended it."""


class DeploymentStatus(StrEnum):
    """Of one version on one node."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    SUPERSEDED = "superseded"
    RETIRED = "retired"


OPEN_DEPLOYMENTS = (DeploymentStatus.PENDING, DeploymentStatus.ACKNOWLEDGED)
"""States in which a version is on its way to a node, or in force there."""


class ContractDelivery(Model):
    """A version on its way to a node. It takes over from whatever version of the contract is there, in one step.

    `number` grows with every delivery of the contract, so that one that comes late does not bring an old version back.
    """

    contract_id: Identifier
    version: Version
    number: int
    document: dict[str, Any]
    document_hash: str


class ContractRetired(Model):
    """Tells a node that the version that was delivered under this number is retired; any other one stays as it is.

    `restores`: nobody had heard that it came into force when it was retired; what it took over from comes back.
    """

    contract_id: Identifier
    number: int
    restores: bool = False


class ContractReceipt(Model):
    """A node's own word which version it executes now, None where that has ended, and which one it did before.

    `number` is that of the last delivery that came into force and was not taken back, None where none did: all before
    it have ended, unless it is retired unheard and they come back.
    """

    node_id: Identifier
    contract_id: Identifier
    number: int | None
    version: Version | None
    document_hash: str | None
    replaced: Version | None = None
