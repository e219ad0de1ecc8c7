"""A check of an instrument, as its contract asks for it (specification 4, `execute_maintenance_check`).

Nothing passes by default: a step that was not done fails its check, and so does a reading in another unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.alert import Severity, cause_of
from schemas.base import Identifier, Measured, Model, Text, UtcDateTime, excerpt
from schemas.equipment import ContractInForce, EquipmentItem
from schemas.maintenance import CheckStep, MaintenanceContract, StepKind, ValidationRule, Version
from schemas.maintenance_alert import IssueType, MaintenanceIssue
from schemas.node_report import ReportedAlert


class StepStatus(StrEnum):
    """`completed` as in the specification; the others fail the check."""

    COMPLETED = "completed"
    OUT_OF_LIMITS = "out_of_limits"
    FAILED = "failed"
    NOT_DONE = "not_done"


class GivenReading(Model):
    """What was read, by a person or by the machine."""

    value: Measured
    unit: Annotated[Text, Field(max_length=100)]


class CheckWork(Model):
    """What was done, by step: readings, confirmations, what somebody found wrong, and readings that could not be had.

    `person` did it, and confirms by name what a person must confirm.
    """

    person: Identifier
    readings: Annotated[Mapping[str, GivenReading], Field(max_length=100)] = Field(default_factory=dict)
    confirmed: frozenset[str] = frozenset()
    wrong: Annotated[Mapping[str, Text], Field(max_length=100)] = Field(default_factory=dict)
    unread: Mapping[str, str] = Field(default_factory=dict)

    @property
    def steps(self) -> frozenset[str]:
        """Those that a person says something about."""
        return self.confirmed | self.readings.keys() | self.wrong.keys()


class StepOutcome(Model):
    """How a step came out; `step` is its description. A reading has its `reading` and `rule`."""

    step_id: Identifier
    step: Text
    status: StepStatus
    notes: str
    rule: Identifier | None = None
    reading: GivenReading | None = None


class CheckResult(Model):
    """A check that was executed."""

    equipment_id: Identifier
    contract_id: Identifier
    version: Version
    check_type: Identifier
    person: Identifier
    timestamp: UtcDateTime
    checks_performed: tuple[StepOutcome, ...]

    @property
    def success(self) -> bool:
        return all(step.status is StepStatus.COMPLETED for step in self.checks_performed)


def unfit(steps: tuple[CheckStep, ...], work: CheckWork) -> Iterator[str]:
    """What a person says that does not belong to this check: nothing is recorded then."""
    kinds = {step.step_id: step.kind for step in steps}
    for step_id in sorted(work.steps - kinds.keys()):
        yield f"there is no step {step_id} in this check: its steps are {', '.join(kinds)}"
    for step_id in sorted(work.readings.keys() & kinds.keys()):
        if kinds[step_id] is not StepKind.READING:
            yield f"step {step_id} takes no reading: confirm it, or say what is wrong"
    for step_id in sorted(work.confirmed & kinds.keys()):
        if kinds[step_id] is StepKind.READING:
            yield f"step {step_id} takes a reading: give its value and unit"
    for step_id in sorted(work.wrong.keys() & (work.confirmed | work.readings.keys())):
        yield f"step {step_id} is said to be done and to be wrong: say one"


def execute(each: ContractInForce, equipment_id: str, check_type: str, work: CheckWork, at: UtcDateTime) -> CheckResult:
    """How the check came out; `check_type` is one of the contract's."""
    procedure = each.contract.procedure(check_type)
    assert procedure is not None
    return CheckResult(
        equipment_id=equipment_id,
        contract_id=each.contract.smart_contract_id,
        version=each.version,
        check_type=check_type,
        person=work.person,
        timestamp=at,
        checks_performed=tuple(_outcome(each.contract, step, work) for step in procedure.steps),
    )


def _outcome(contract: MaintenanceContract, step: CheckStep, work: CheckWork) -> StepOutcome:
    reading, rule = work.readings.get(step.step_id), contract.validation_rules.get(step.rule or "")
    if step.step_id in work.wrong:
        status, notes = StepStatus.FAILED, f"{work.person}: {work.wrong[step.step_id]}"
    elif step.kind is not StepKind.READING:
        if step.step_id in work.confirmed:
            status, notes = StepStatus.COMPLETED, f"confirmed by {work.person}"
        else:
            status, notes = StepStatus.NOT_DONE, "nobody confirmed it"
    elif reading is None:
        status, notes = StepStatus.NOT_DONE, work.unread.get(step.step_id, "there is no reading")
    elif rule is None:
        status, notes = StepStatus.FAILED, f"the contract has no rule {step.rule}: it must be mended at the hub"
    else:
        status, notes = _judged(reading, rule)
    return StepOutcome(
        step_id=step.step_id, step=step.description, status=status, notes=notes, rule=step.rule, reading=reading
    )


def limits(rule: ValidationRule) -> str:
    """As people read them; limits are included."""
    if rule.minimum is None:
        return f"at most {rule.maximum} {rule.unit}"
    if rule.maximum is None:
        return f"at least {rule.minimum} {rule.unit}"
    return f"{rule.minimum} to {rule.maximum} {rule.unit}"


def _judged(reading: GivenReading, rule: ValidationRule) -> tuple[StepStatus, str]:
    seen = f"{reading.value} {reading.unit}"
    if reading.unit != rule.unit:
        return StepStatus.FAILED, f"{seen} is not in {rule.unit}: read it again in this unit"
    if rule.minimum is None and rule.maximum is None:
        return StepStatus.FAILED, f"{seen}: its rule has no limits, it must be mended at the hub"
    if rule.minimum is not None and reading.value < rule.minimum:
        return StepStatus.OUT_OF_LIMITS, f"{seen} is below {rule.minimum} {rule.unit}"
    if rule.maximum is not None and reading.value > rule.maximum:
        return StepStatus.OUT_OF_LIMITS, f"{seen} is above {rule.maximum} {rule.unit}"
    return StepStatus.COMPLETED, f"{seen} ({limits(rule)})"


# --- what is alerted


def check_causes(equipment_id: str, contract: MaintenanceContract, check_type: str) -> Iterator[str]:
    """The causes of all alerts that this check may have raised, here or at another node."""
    where = (equipment_id, contract.smart_contract_id, check_type)
    yield cause_of(IssueType.CHECK_FAILED, *where)
    procedure = contract.procedure(check_type)
    for step in procedure.steps if procedure else ():
        if step.kind is StepKind.READING:
            yield cause_of(IssueType.READING_OUT_OF_LIMITS, *where, step.step_id)


def check_alerts(
    node_id: str, item: EquipmentItem, contract: MaintenanceContract, result: CheckResult
) -> Iterator[ReportedAlert]:
    """One for each reading that is out of its limits, and one for all else that is wrong with a check."""
    other = []
    for step in result.checks_performed:
        if step.status is StepStatus.OUT_OF_LIMITS and step.reading is not None:
            rule = contract.validation_rules[step.rule or ""]
            data = {"step": step.step_id, "rule": step.rule or "", "value": str(step.reading.value), "unit": rule.unit}
            ends = {"minimum": rule.minimum, "maximum": rule.maximum}
            data |= {name: str(end) for name, end in ends.items() if end is not None}
            yield _alert(IssueType.READING_OUT_OF_LIMITS, node_id, item, result, [step], data, step.step_id)
        elif step.status is not StepStatus.COMPLETED:
            other.append(step)
    if other:
        data = {"steps": excerpt(" ".join(step.step_id for step in other), 500)}
        yield _alert(IssueType.CHECK_FAILED, node_id, item, result, other, data)


def _alert(
    issue_type: str,
    node_id: str,
    item: EquipmentItem,
    result: CheckResult,
    steps: Sequence[StepOutcome],
    data: dict[str, str],
    *where: str,
) -> ReportedAlert:
    name, check = item.equipment_id, f"the check {result.check_type} of {result.contract_id} {result.version}"
    wrong = "; ".join(f"{step.step_id}: {step.notes}" for step in steps)
    return ReportedAlert(
        alert_type=issue_type,
        severity=Severity.MEDIUM,
        subject=name,
        text=f"{name} at {node_id} did not pass {check}: {excerpt(wrong)}. It is not ready until it passes: mend it,"
        f" then do it again with smartfloor node check",
        cause=cause_of(issue_type, name, result.contract_id, result.check_type, *where),
        issue=MaintenanceIssue(
            issue_type=issue_type,
            contract_id=result.contract_id,
            equipment_id=name,
            equipment_type=item.equipment_type,
            node_id=node_id,
            data={"check_type": result.check_type, "version": result.version, **data},
        ),
    )
