"""What alerts propose to change in their contract."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.approval import ApprovalType
from schemas.maintenance import validate
from schemas.maintenance_alert import TeachingAlert
from schemas.maintenance_pattern import ContractExecuted, Finding, Proposal
from schemas.maintenance_proposal import propose
from schemas.maintenance_version import apply

DOCUMENT: dict[str, Any] = {
    "smart_contract_id": "LP-uv",
    "contract_type": "SmartMaintenance",
    "title": "UV lamps",
    "description": "UV intensity of inspection lamps",
    "equipment_types": ["uv_lamp"],
    "conditions": ["must-calibrate-before-test"],
    "calibration_interval_days": 180,
    "maintenance_procedures": {
        "daily": {
            "title": "Intensity",
            "every": "day",
            "steps": [{"step_id": "read", "description": "read it", "kind": "reading", "rule": "uv"}],
        },
        "monthly": {
            "title": "Filter",
            "every": 30,
            "steps": [{"step_id": "look", "description": "look at it", "kind": "visual"}],
        },
    },
    "validation_rules": {"uv": {"unit": "uW/cm2", "minimum": 1000}},
}


def finding(*data: dict[str, str], review_type: ApprovalType = ApprovalType.CONTRACT_REVIEW) -> Finding:
    alerts = [
        TeachingAlert(
            alert_id=f"A-{number}",
            issue_type="any",
            contract_id="LP-uv",
            equipment_id=f"LAMP-{number}",
            equipment_type="uv_lamp",
            node_id=f"N{number % 2}",
            data=seen,
            happened_at=datetime(2026, 11, 1, number, tzinfo=UTC),
        )
        for number, seen in enumerate(data or ({}, {}, {}))
    ]
    return Finding(review_type=review_type, alerts=tuple(alerts))


def proposed(issue_type: str, *data: dict[str, str], **fields: Any) -> Proposal:
    document = {name: value for name, value in {**DOCUMENT, **fields}.items() if value is not None}
    executed = ContractExecuted(version="1.2", document=document)
    proposal = propose(finding(*data), issue_type, executed)
    applied = apply(document, proposal.changes)  # raises where a change does not fit what it is for
    assert (validate(document).faults, validate(applied).faults) == ((), ())
    return proposal


def changed(issue_type: str, *data: dict[str, str], **fields: Any) -> list[tuple[str, Any, Any]]:
    return [(each.field, each.before, each.after) for each in proposed(issue_type, *data, **fields).changes]


def reading(value: str, **other: str) -> dict[str, str]:
    return {"check_type": "daily", "rule": "uv", "value": value, "unit": "uW/cm2", **other}


class TestFailedCalibrations:
    @pytest.mark.parametrize(("now", "then"), [(180, 120), (365, 270), (200, 180), (8, 7)])
    def test_shorten_the_interval_by_one_step(self, now: int, then: int) -> None:
        assert changed("calibration_failed", calibration_interval_days=now, warning_days=7) == [
            ("/calibration_interval_days", now, then)
        ]

    @pytest.mark.parametrize(("now", "warning"), [(30, None), (20, 20)])
    def test_shorten_the_warning_with_it_that_would_be_longer(self, now: int, warning: int | None) -> None:
        assert changed("calibration_failed", calibration_interval_days=now, warning_days=warning) == [
            ("/calibration_interval_days", now, 14),
            ("/warning_days", warning, 14),
        ]

    @pytest.mark.parametrize(
        "fields",
        [{"calibration_interval_days": 7, "warning_days": 7}, {"calibration_interval_days": None, "conditions": []}],
    )
    def test_propose_nothing_where_there_is_no_shorter_one(self, fields: dict[str, Any]) -> None:
        proposal = proposed("calibration_failed", **fields)
        assert proposal.changes == ()
        assert "look at the alerts" in proposal.advice

    def test_shorten_it_by_those_alone_that_were_not_found_within_tolerance(self) -> None:
        right, wrong, unknown = ({"as_found": found} for found in ("within_tolerance", "out_of_tolerance", "not_given"))
        assert changed("calibration_failed", right, right, right) == []
        [change] = proposed("calibration_failed", right, wrong, unknown).changes
        assert [one["alert_id"] for one in change.data["alerts"]] == ["A-1", "A-2"]

    def test_say_which_alerts_are_behind_it(self) -> None:
        [change] = proposed("calibration_failed").changes
        assert [one["alert_id"] for one in change.data["alerts"]] == ["A-0", "A-1", "A-2"]
        assert "ILAC-G24" in change.reason


class TestExpiredCalibrations:
    def test_lengthen_the_warning_though_the_document_leaves_it_out(self) -> None:
        assert changed("calibration_expired") == [("/warning_days", None, 45)]

    def test_do_not_warn_for_longer_than_a_calibration_lasts(self) -> None:
        assert changed("calibration_expired", calibration_interval_days=40) == []


class TestFailedChecks:
    @pytest.mark.parametrize(("check_type", "now", "then"), [("daily", "day", "shift"), ("monthly", 30, 15)])
    def test_are_done_more_often(self, check_type: str, now: Any, then: Any) -> None:
        seen = {"check_type": check_type}
        assert changed("check_failed", seen, seen, seen) == [(f"/maintenance_procedures/{check_type}/every", now, then)]


class TestReadingsOutOfLimits:
    def test_that_all_lie_below_propose_the_lowest_as_limit_and_a_check_more_often(self) -> None:
        assert changed("reading_out_of_limits", *map(reading, ("950", "930.5", "980"))) == [
            ("/maintenance_procedures/daily/every", "day", "shift"),
            ("/validation_rules/uv/minimum", 1000, "930.5"),
        ]

    @pytest.mark.parametrize(
        "seen",
        [
            [reading("950"), reading("930", unit="W/m2"), reading("980")],
            [reading("950"), reading("much"), reading("980")],
            [reading("950"), reading("NaN"), reading("980")],
            [reading("950"), reading("1500"), reading("980")],
        ],
        ids=["another unit", "no number", "not a number", "within the limit"],
    )
    def test_that_do_not_agree_propose_no_limit(self, seen: list[dict[str, str]]) -> None:
        fields = [field for field, _, _ in changed("reading_out_of_limits", *seen)]
        assert fields == ["/maintenance_procedures/daily/every"]

    def test_that_name_their_rule_alone_are_of_the_checks_that_read_by_it(self) -> None:
        seen = {"rule": "uv", "value": "950", "unit": "uW/cm2"}
        assert changed("reading_out_of_limits", seen, seen, seen)[0][0] == "/maintenance_procedures/daily/every"


class TestNothing:
    def test_is_proposed_where_no_version_is_in_force_and_that_is_said(self) -> None:
        proposal = propose(finding(), "calibration_failed", None)
        assert (proposal.changes, proposal.parent_version) == ((), None)
        assert "No version of the contract is in force" in proposal.advice

    def test_is_proposed_for_an_issue_that_nobody_knows(self) -> None:
        assert changed("smells_of_burning") == []

    def test_of_the_contract_is_proposed_by_what_fails_at_one_node(self) -> None:
        executed = ContractExecuted(version="1.2", document=DOCUMENT)
        one_node = finding(review_type=ApprovalType.EQUIPMENT_REVIEW)
        proposal = propose(one_node, "calibration_failed", executed)
        assert proposal.changes == ()
        assert proposal.advice == (
            "Take LAMP-0, LAMP-1, LAMP-2 out of service, inspect, and return what is right again."
        )
