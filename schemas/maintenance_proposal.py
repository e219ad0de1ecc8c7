"""What the alerts of a pattern propose to change in their contract: a draft's beginning, for an engineer to judge."""

from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from schemas.approval import ApprovalType
from schemas.base import excerpt, timestamp
from schemas.equipment import AsFound
from schemas.maintenance import CHECKLIST, Every, MaintenanceContract, StepKind
from schemas.maintenance_alert import IssueType, TeachingAlert
from schemas.maintenance_pattern import ContractExecuted, Finding, Proposal
from schemas.maintenance_version import ContractChange, value_at

INTERVALS = (7, 14, 30, 60, 90, 120, 180, 270, 365, 730, 1095, 1825)
"""Days between calibrations. ILAC-G24:2022 / OIML D 10, method 1 ("automatic adjustment or staircase"): an instrument
that is found out of tolerance is calibrated after a shorter interval. How high the steps are, it leaves open."""

WARNINGS = (14, 30, 45, 60, 90, 120)
"""Days of warning before a due date."""

BEHIND = 40
"""Alerts that a change names as its data, the newest."""


def propose(finding: Finding, issue_type: str, executed: ContractExecuted | None) -> Proposal:
    """What an engineer is asked to accept.

    A review of equipment changes no contract: what fails at one node and nowhere else is the fault of what is there.
    """
    if finding.review_type is ApprovalType.EQUIPMENT_REVIEW:
        instruments = ", ".join(finding.equipment_ids)
        return Proposal(
            parent_version=executed and executed.version,
            advice=excerpt(f"Take {instruments} out of service, inspect, and return what is right again."),
        )
    if executed is None:
        return Proposal(advice="No version of the contract is in force, so no change of it can be proposed.")
    contract = MaintenanceContract.model_validate(executed.document)
    changes = tuple(
        ContractChange(
            field=change.field,
            before=value_at(executed.document, change.field),
            after=change.after,
            reason=change.reason,
            data={"alerts": behind(change.alerts)},
        )
        for change in _changes(contract, issue_type, finding.alerts)
    )
    return Proposal(
        parent_version=executed.version,
        changes=changes,
        advice="Revise the draft where you know better, then have it validated."
        if changes
        else f"Nothing in version {executed.version} follows from {issue_type}: look at the alerts.",
    )


class Wish(NamedTuple):
    """A change of which nobody has looked yet what it replaces; `after` is JSON."""

    field: str
    after: str | int
    reason: str
    alerts: Sequence[TeachingAlert]


def _changes(contract: MaintenanceContract, issue_type: str, alerts: Sequence[TeachingAlert]) -> Iterator[Wish]:
    match issue_type:
        case IssueType.CALIBRATION_FAILED:
            yield from _shorter_interval(contract, alerts)
        case IssueType.CALIBRATION_EXPIRED:
            yield from _longer_warning(contract, alerts)
        case IssueType.CHECK_FAILED:
            yield from _more_often(contract, _check_types(contract, alerts), alerts)
        case IssueType.READING_OUT_OF_LIMITS:
            yield from _more_often(contract, _check_types(contract, alerts), alerts)
            yield from _other_limits(contract, alerts)


def _shorter_interval(contract: MaintenanceContract, alerts: Sequence[TeachingAlert]) -> Iterator[Wish]:
    """An instrument that failed and was found within tolerance had measured rightly until then."""
    now = contract.calibration_interval_days
    shorter = max((days for days in INTERVALS if now is not None and days < now), default=None)
    behind_it = [alert for alert in alerts if alert.data.get("as_found") != AsFound.WITHIN_TOLERANCE]
    if shorter is not None and behind_it:
        reason = (
            "instruments were found out of tolerance at their calibration (staircase of ILAC-G24), or failed it and"
            " nobody says how they were found"
        )
        yield Wish("/calibration_interval_days", shorter, reason, behind_it)
        if contract.warning_days > shorter:
            yield Wish("/warning_days", shorter, "no longer than a calibration lasts", behind_it)


def _longer_warning(contract: MaintenanceContract, alerts: Sequence[TeachingAlert]) -> Iterator[Wish]:
    now, most = contract.warning_days, contract.calibration_interval_days
    longer = next((days for days in WARNINGS if days > now and (most is None or days < most)), None)
    if longer is not None:
        yield Wish("/warning_days", longer, "calibrations expired before anybody had them renewed", alerts)


def _check_types(contract: MaintenanceContract, alerts: Sequence[TeachingAlert]) -> list[str]:
    """The checks that the alerts are about: those that they name, else those that read by the rule that they name."""
    named = {alert.data.get("check_type") for alert in alerts}
    rules = {alert.data.get("rule") for alert in alerts if "check_type" not in alert.data}
    return [
        check_type
        for check_type in (*contract.maintenance_procedures, CHECKLIST)
        if (check := contract.procedure(check_type))
        and (check_type in named or any(step.kind is StepKind.READING and step.rule in rules for step in check.steps))
    ]


def _more_often(
    contract: MaintenanceContract, check_types: Sequence[str], alerts: Sequence[TeachingAlert]
) -> Iterator[Wish]:
    for check_type in check_types:
        check = contract.procedure(check_type)
        oftener = check and _oftener(check.every)
        if check and oftener:
            field = "/checklist_every" if check_type == CHECKLIST else f"/maintenance_procedures/{check_type}/every"
            yield Wish(field, oftener, f"the check {check_type} fails again and again", alerts)


def _oftener(every: Every) -> Every | None:
    """Nothing is more often than each shift."""
    match every:
        case "shift":
            return None
        case "day" | 1:
            return "shift"
        case int(days):
            return days // 2


def _other_limits(contract: MaintenanceContract, alerts: Sequence[TeachingAlert]) -> Iterator[Wish]:
    """Where all readings of a rule lie beyond the same limit, the farthest of them; else they scatter, and nothing."""
    for name, rule in contract.validation_rules.items():
        of_rule = [alert for alert in alerts if alert.data.get("rule") == name]
        readings = [_reading(alert) for alert in of_rule if alert.data.get("unit") == rule.unit]
        values = [value for value in readings if value is not None]
        if not values or len(values) < len(of_rule):
            continue
        pointer = f"/validation_rules/{name}"
        reason = "all readings lie beyond this limit: accept them only where the work is right with them"
        if rule.minimum is not None and all(value < rule.minimum for value in values):
            yield Wish(f"{pointer}/minimum", str(min(values)), reason, of_rule)
        if rule.maximum is not None and all(value > rule.maximum for value in values):
            yield Wish(f"{pointer}/maximum", str(max(values)), reason, of_rule)


def _reading(alert: TeachingAlert) -> Decimal | None:
    try:
        value = Decimal(alert.data.get("value", ""))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def behind(alerts: Sequence[TeachingAlert]) -> list[dict[str, Any]]:
    """The alerts as the data behind a proposal."""
    return [
        {
            "alert_id": alert.alert_id,
            "node_id": alert.node_id,
            "equipment_id": alert.equipment_id,
            "happened_at": timestamp(alert.happened_at),
            **({"data": dict(alert.data)} if alert.data else {}),
        }
        for alert in alerts[-BEHIND:]
    ]
