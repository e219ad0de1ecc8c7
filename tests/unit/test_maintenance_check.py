"""How a check comes out: nothing passes by default."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.maintenance_check import CheckResult, CheckWork, GivenReading, StepStatus, execute, unfit
from tests.instruments import FILTER, INTENSITY, daily, in_force

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
READ = {"step_id": "read", "description": "Instruction read", "kind": "acknowledgement"}
CONTRACT = in_force(**daily("day", INTENSITY, FILTER, READ))
STEPS = CONTRACT.contract.maintenance_procedures["daily"].steps


def read(value: str, unit: str = "uW/cm2") -> dict[str, GivenReading]:
    return {"intensity": GivenReading(value=value, unit=unit)}


def executed(**work: Any) -> CheckResult:
    return execute(CONTRACT, "LAMP-1", "daily", CheckWork(person="ines", **work), NOW)


def first(**work: Any) -> tuple[StepStatus, str]:
    step = executed(**work).checks_performed[0]
    return step.status, step.notes


class TestACheck:
    def test_is_passed_when_every_step_is_done(self) -> None:
        assert executed(readings=read("1250"), confirmed={"filter", "read"}).success

    @pytest.mark.parametrize(
        "work",
        [
            {},
            {"readings": read("1250")},
            {"confirmed": {"filter", "read"}},
            {"readings": read("1250"), "confirmed": {"filter"}},
            {"readings": read("1250"), "confirmed": {"read"}},
            {"readings": read("1250"), "confirmed": {"read"}, "wrong": {"filter": "cracked"}},
        ],
    )
    def test_is_not_passed_when_a_step_is_left_or_wrong(self, work: dict[str, Any]) -> None:
        assert not executed(**work).success


class TestAReading:
    @pytest.mark.parametrize("value", ["1000", "1000.00", "5000"])
    def test_meets_its_limits_which_are_included(self, value: str) -> None:
        assert first(readings=read(value))[0] is StepStatus.COMPLETED

    @pytest.mark.parametrize(
        ("value", "notes"),
        [("999.999", "999.999 uW/cm2 is below 1000 uW/cm2"), ("5000.1", "5000.1 uW/cm2 is above 5000 uW/cm2")],
    )
    def test_is_out_of_its_limits(self, value: str, notes: str) -> None:
        assert first(readings=read(value)) == (StepStatus.OUT_OF_LIMITS, notes)

    @pytest.mark.parametrize("unit", ["mW/cm2", "uw/cm2", "1"])
    def test_in_another_unit_fails(self, unit: str) -> None:
        status, notes = first(readings=read("1250", unit))
        assert status is StepStatus.FAILED
        assert notes == f"1250 {unit} is not in uW/cm2: read it again in this unit"

    def test_that_the_machine_did_not_give_says_why(self) -> None:
        assert first(unread={"intensity": "it is off"}) == (StepStatus.NOT_DONE, "it is off")

    def test_under_a_rule_without_limits_fails(self) -> None:
        fields = daily("day", INTENSITY) | {"validation_rules": {"uv": {"unit": "uW/cm2"}}}
        work = CheckWork(person="ines", readings=read("1250"))
        assert not execute(in_force(**fields), "LAMP-1", "daily", work, NOW).success


class TestWhatAPersonSays:
    @pytest.mark.parametrize(
        ("work", "fault"),
        [
            ({"confirmed": {"gone"}}, "there is no step gone in this check: its steps are intensity, filter, read"),
            ({"confirmed": {"intensity"}}, "step intensity takes a reading: give its value and unit"),
            (
                {"readings": {"filter": GivenReading(value="1", unit="1")}},
                "step filter takes no reading: confirm it, or say what is wrong",
            ),
            (
                {"confirmed": {"filter"}, "wrong": {"filter": "cracked"}},
                "step filter is said to be done and to be wrong: say one",
            ),
        ],
    )
    def test_must_fit_the_check(self, work: dict[str, Any], fault: str) -> None:
        assert list(unfit(STEPS, CheckWork(person="ines", **work))) == [fault]
