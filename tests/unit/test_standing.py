"""Where an instrument stands: out of service, calibrated, checked; and the worked example of specification 4."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.node_maintenance import NodeMaintenance
from schemas.calibration import CalibrationState
from schemas.equipment import (
    CalibrationRecord,
    CalibrationResult,
    ContractInForce,
    EquipmentState,
    LastCheck,
    Standing,
    calibration_refusal,
    standing,
)
from schemas.node import Node
from schemas.node_report import NodeReports, RegisteredItem, RegisterPage
from tests.instruments import NODE, Register, calibrated, daily, delivered, disk, in_force, item

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = NOON.date()
CONTRACT = in_force()
CHECKED = in_force(**daily())
POINT = {"name": "20 °C", "unit": "°C", "reference": "20", "tolerance": "0.5", "as_found": "20", "as_left": "20"}


def found(
    last: CalibrationRecord | None = None,
    *contracts: ContractInForce,
    at: datetime = NOON,
    checks: tuple[LastCheck, ...] = (),
    node: Node = NODE,
    **fields: Any,
) -> Standing:
    known = {(check.contract_id, check.check_type): check for check in checks}
    return standing(item(**fields), last, contracts, known, node, at)


def done(at: datetime = NOON, *, version: str = "1.0", passed: bool = True) -> LastCheck:
    return LastCheck(contract_id="LP-lamp", version=version, check_type="daily", at=at, passed=passed)


class TestItsState:
    def test_is_ready_when_nothing_is_missing(self) -> None:
        answer = found(calibrated(), CONTRACT)
        assert (answer.state, answer.missing, answer.due_on) == (EquipmentState.READY, (), date(2027, 1, 10))
        assert answer.calibration is CalibrationState.CURRENT

    def test_is_ready_while_its_calibration_is_expiring_soon(self) -> None:
        answer = found(calibrated(DAY - timedelta(days=340)), CONTRACT)
        assert (answer.state, answer.calibration) == (EquipmentState.READY, CalibrationState.EXPIRING_SOON)

    def test_is_expired_the_day_after_its_due_date(self) -> None:
        answer = found(calibrated(DAY - timedelta(days=366)), CONTRACT)
        assert (answer.state, answer.days_left) == (EquipmentState.EXPIRED, -1)
        assert answer.missing == ("LAMP-1 was due for calibration on 2026-11-20",)

    def test_is_pending_without_a_calibration(self) -> None:
        assert found(None, CONTRACT).state is EquipmentState.PENDING_CALIBRATION

    def test_is_pending_when_it_is_expired_and_its_calibration_is_arranged(self) -> None:
        answer = found(calibrated(date(2020, 1, 1)), CONTRACT, calibration_scheduled_on=DAY)
        assert (answer.state, answer.calibration) == (EquipmentState.PENDING_CALIBRATION, CalibrationState.EXPIRED)
        assert not answer.ready

    def test_stays_ready_while_the_next_calibration_is_arranged(self) -> None:
        assert found(calibrated(), CONTRACT, calibration_scheduled_on=DAY).ready

    def test_is_failed_while_its_newest_calibration_is(self) -> None:
        answer = found(calibrated(result="failed"), CONTRACT, calibration_scheduled_on=DAY)
        assert answer.state is EquipmentState.CALIBRATION_FAILED
        assert not answer.calibration_valid
        assert "have it adjusted and calibrated again" in answer.missing[0]

    def test_is_failed_also_where_nothing_asks_for_a_calibration(self) -> None:
        assert not found(calibrated(result="failed"), in_force(conditions=[], **daily()), checks=(done(),)).ready

    def test_is_out_of_service_before_all_else(self) -> None:
        answer = found(calibrated(result="failed"), CONTRACT, out_of_service="dropped")
        assert answer.state is EquipmentState.OUT_OF_SERVICE
        assert answer.missing[0] == "LAMP-1 is out of service: dropped"
        assert len(answer.missing) == 2

    def test_is_not_ready_at_another_node(self) -> None:
        answer = found(calibrated(), CONTRACT, node_id="NODE-2")
        assert answer.missing == ("LAMP-1 is at NODE-2: check it out to NODE-1 first",)
        assert not answer.ready


class TestItsDueDate:
    @pytest.mark.parametrize(
        ("own", "contracts", "certificate", "due_on"),
        [
            (100, (365,), None, date(2026, 4, 20)),
            (365, (100,), None, date(2026, 4, 20)),
            (None, (365, 100), None, date(2026, 4, 20)),
            (365, (), date(2026, 4, 20), date(2026, 4, 20)),
            (100, (365,), date(2026, 12, 1), date(2026, 4, 20)),
            (None, (), date(2026, 4, 20), date(2026, 4, 20)),
        ],
    )
    def test_is_the_earliest_that_anybody_says(
        self, own: int | None, contracts: tuple[int, ...], certificate: date | None, due_on: date
    ) -> None:
        asking = [in_force(smart_contract_id=f"LP-{days}", calibration_interval_days=days) for days in contracts]
        answer = found(calibrated(due_on=certificate), *asking, calibration_interval_days=own)
        assert answer.due_on == due_on

    def test_is_the_last_of_all_days_where_it_would_come_after_them(self) -> None:
        assert found(calibrated(date(9999, 12, 1)), CONTRACT, calibration_interval_days=180).missing == (
            "LAMP-1 is calibrated on 9999-12-01, which is not yet",
        )

    def test_is_needed(self) -> None:
        assert found(calibrated()).missing == ("LAMP-1 has no calibration certificate with its dates",)

    def test_is_asked_for_by_nobody_where_contracts_cover_it_and_none_wants_it(self) -> None:
        answer = found(None, in_force(conditions=[], **daily()), checks=(done(),))
        assert (answer.state, answer.calibration, answer.due_on) == (
            *(EquipmentState.READY, CalibrationState.CURRENT, None),
        )

    @pytest.mark.parametrize(
        ("own", "certificate"), [(180, None), (None, date(2026, 11, 20))], ids=["by its line", "by its certificate"]
    )
    def test_holds_also_where_contracts_ask_for_checks_alone(self, own: int | None, certificate: date | None) -> None:
        checked = in_force(conditions=[], calibration_interval_days=None, **daily())
        last = calibrated(date(2024, 1, 1), due_on=certificate)
        answer = found(last, checked, checks=(done(),), calibration_interval_days=own)
        assert answer.state is EquipmentState.EXPIRED

    def test_is_asked_for_where_one_of_its_contracts_wants_it(self) -> None:
        assert not found(None, in_force(conditions=[], **daily()), CONTRACT, checks=(done(),)).ready

    def test_is_not_touched_by_contracts_for_other_equipment(self) -> None:
        others = in_force(equipment_types=["oven"], calibration_interval_days=1, **daily())
        assert found(calibrated(due_on=date(2027, 1, 1)), others).due_on == date(2027, 1, 1)

    def test_is_warned_of_as_early_as_anybody_says(self) -> None:
        last = calibrated(DAY - timedelta(days=365 - 50))
        states = [
            found(last, in_force(warning_days=contract), warning_days=own).calibration
            for own, contract in [(49, 49), (50, 0), (0, 50)]
        ]
        assert states == [CalibrationState.CURRENT, CalibrationState.EXPIRING_SOON, CalibrationState.EXPIRING_SOON]

    @pytest.mark.parametrize(("zone", "ready"), [("UTC", False), ("America/New_York", True), ("Etc/GMT-14", False)])
    def test_ends_with_the_day_of_the_node(self, zone: str, ready: bool) -> None:
        node = NODE.model_copy(update={"time_zone": zone})
        after_it_in_utc = datetime(2027, 1, 11, 3, tzinfo=UTC)
        assert found(calibrated(), CONTRACT, at=after_it_in_utc, node=node).ready == ready


class TestItsChecks:
    def test_are_due_until_they_are_done(self) -> None:
        answer = found(calibrated(), CHECKED)
        assert (answer.state, answer.missing) == (
            EquipmentState.CURRENT,
            ("LAMP-1: the check daily of LP-lamp 1.0 is not done in this day: do it",),
        )
        assert [check.check_type for check in answer.due] == ["daily"]
        assert found(calibrated(), CHECKED, checks=(done(),)).ready

    def test_are_due_until_they_are_passed(self) -> None:
        (missing,) = found(calibrated(), CHECKED, checks=(done(passed=False),)).missing
        assert missing == "LAMP-1: the check daily of LP-lamp 1.0 was not passed: mend it and do it again"

    def test_are_due_again_under_a_new_version(self) -> None:
        newer = in_force("1.1", **daily())
        assert not found(calibrated(), newer, checks=(done(version="1.0"),)).ready

    @pytest.mark.parametrize(("zone", "ready"), [("UTC", True), ("Pacific/Auckland", False)])
    def test_of_each_day_count_for_the_day_of_the_node(self, zone: str, ready: bool) -> None:
        node, at = NODE.model_copy(update={"time_zone": zone}), datetime(2026, 11, 21, 10, tzinfo=UTC)
        after_midnight_in_auckland = at + timedelta(hours=2)
        assert found(calibrated(), CHECKED, checks=(done(at),), node=node, at=after_midnight_in_auckland).ready == ready

    @pytest.mark.parametrize(("later", "ready"), [(0, True), (7, True), (8, False), (-1, False)])
    def test_of_an_interval_count_through_their_due_date(self, later: int, ready: bool) -> None:
        weekly, at = in_force(**daily(7)), NOON + timedelta(days=later)
        assert found(calibrated(), weekly, checks=(done(),), at=at).ready == ready

    @pytest.mark.parametrize(("hour", "ready"), [(6, True), (13, True), (14, False), (5, False)])
    def test_of_each_shift_count_for_the_shift_of_the_node(self, hour: int, ready: bool) -> None:
        shifts = {"early": {"from": "06:00", "to": "14:00"}, "late": {"from": "14:00", "to": "22:00"}}
        node = Node.model_validate({**NODE.model_dump(), "shifts": shifts})
        at = NOON.replace(hour=hour)
        assert found(calibrated(), in_force(**daily("shift")), checks=(done(),), node=node, at=at).ready == ready

    def test_of_a_checklist_are_required_where_the_contract_asks_for_an_acknowledgement(self) -> None:
        steps = [{"step_id": "read", "description": "Instruction read", "kind": "acknowledgement"}]
        conditions = ["must-calibrate-before-test"]
        assert found(calibrated(), in_force(checklist_steps=steps)).ready
        asked = in_force(checklist_steps=steps, conditions=[*conditions, "require-maintenance-acknowledgement"])
        assert [check.check_type for check in found(calibrated(), asked).due] == ["checklist"]


class TestACalibration:
    @pytest.mark.parametrize(
        ("fields", "refusal"),
        [
            ({}, None),
            ({"on": DAY}, None),
            (
                {"on": DAY + timedelta(days=1)},
                "certificate C-1 is dated 2026-11-22, which is not yet: look at its date",
            ),
            (
                {"certificate_for": "LAMP-9"},
                "certificate C-1 is for LAMP-9, not for LAMP-1: record it for that instrument",
            ),
            ({"certificate_for": "LAMP-1"}, None),
            (
                {"due_on": date(2026, 1, 9)},
                "certificate C-1 is due on 2026-01-09, before it was calibrated: look at its dates",
            ),
        ],
    )
    def test_is_refused_for_what_it_says(self, fields: dict[str, Any], refusal: str | None) -> None:
        assert calibration_refusal(calibrated(**fields), DAY) == refusal

    @pytest.mark.parametrize("number", [None, "", " "])
    def test_without_a_number_is_none(self, number: str | None) -> None:
        with pytest.raises(ValidationError, match="certificate_number"):
            CalibrationRecord.model_validate({**calibrated().model_dump(), "certificate_number": number})

    @pytest.mark.parametrize(
        ("as_found", "in_doubt"),
        [("20.5", False), ("20.50", False), ("20.51", True), ("19.5", False), ("19.49", True)],
    )
    def test_found_its_instrument_out_of_tolerance_only_beyond_the_limit(self, as_found: str, in_doubt: bool) -> None:
        assert calibrated(points=[POINT | {"as_found": as_found}]).found_out_of_tolerance == in_doubt

    def test_finds_the_last_digit_that_can_be_written_down(self) -> None:
        beyond = POINT | {"as_found": f"20.5{'0' * 36}1"}
        assert calibrated(points=[beyond]).found_out_of_tolerance

    def test_that_passed_and_was_left_out_of_tolerance_is_refused(self) -> None:
        point = POINT | {"as_found": "21", "as_left": "21"}
        assert "leaves 20 °C out of tolerance" in (calibration_refusal(calibrated(points=[point]), DAY) or "")
        assert calibration_refusal(calibrated(points=[point], result=CalibrationResult.FAILED), DAY) is None
        assert calibration_refusal(calibrated(points=[point | {"as_left": "20.5"}]), DAY) is None


days = st.dates(date(2000, 1, 1), date(2090, 12, 31))
records = st.none() | st.builds(
    calibrated,
    days,
    due_on=st.none() | days,
    result=st.sampled_from(CalibrationResult),
    certificate_for=st.sampled_from([None, "LAMP-1", "LAMP-9"]),
)
lines = st.fixed_dictionaries(
    {
        "calibration_interval_days": st.none() | st.integers(1, 800),
        "out_of_service": st.sampled_from([None, "broken"]),
        "calibration_scheduled_on": st.none() | days,
        "node_id": st.sampled_from(["NODE-1", "NODE-1", "NODE-2"]),
    }
)
covering = st.lists(
    st.sampled_from([CONTRACT, in_force(smart_contract_id="LP-short", calibration_interval_days=90)]), unique_by=id
)
times = st.datetimes(datetime(2000, 1, 1), datetime(2091, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
zones = st.sampled_from(["UTC", "Europe/Berlin", "Etc/GMT+12", "Etc/GMT-14"]).map(
    lambda zone: NODE.model_copy(update={"time_zone": zone})
)


class TestTheLaws:
    @given(records, lines, covering, times, times, zones)
    def test_time_never_makes_ready_what_was_not(
        self,
        last: CalibrationRecord | None,
        line: dict[str, Any],
        contracts: list[ContractInForce],
        one: datetime,
        other: datetime,
        node: Node,
    ) -> None:
        earlier, later = (found(last, *contracts, at=at, node=node, **line) for at in sorted((one, other)))
        if last is None or last.calibrated_on <= node.day(min(one, other)):
            assert later.ready <= earlier.ready
            assert later.calibration_valid <= earlier.calibration_valid

    @given(records, lines, covering, days, zones, st.timedeltas(timedelta(), timedelta(hours=23, minutes=59)))
    def test_only_the_day_of_the_node_counts(
        self,
        last: CalibrationRecord | None,
        line: dict[str, Any],
        contracts: list[ContractInForce],
        day: date,
        node: Node,
        later: timedelta,
    ) -> None:
        midnight = datetime.combine(day, datetime.min.time(), node.zone).astimezone(UTC)
        if node.day(midnight + later) == day:
            assert found(last, *contracts, at=midnight, node=node, **line) == found(
                last, *contracts, at=midnight + later, node=node, **line
            )

    @settings(deadline=None, max_examples=30)
    @given(
        st.lists(records.filter(bool), max_size=3),
        lines,
        covering,
        times,
        zones,
        st.integers(0, 3),
    )
    def test_the_answer_is_the_same_at_the_node_alone_and_at_the_hub(
        self,
        history: list[CalibrationRecord],
        line: dict[str, Any],
        contracts: list[ContractInForce],
        at: datetime,
        node: Node,
        known: int,
    ) -> None:
        """Of the calibrations of a line the hub knows the first ones; the others were recorded at the node."""
        history = [
            record.model_copy(update={"certificate_number": f"C-{number}", "certificate_for": None, "due_on": None})
            for number, record in enumerate(history)
        ]
        line = {**line, "node_id": "NODE-1"}
        today = datetime(2095, 1, 1, tzinfo=UTC)
        with TemporaryDirectory() as folder:
            maintenance = NodeMaintenance(node, disk(Path(folder)), lambda: today)
            register = Register(maintenance)
            for each in contracts:
                maintenance.take_contract(delivered(each))
            register.write((item(**line), _newest(history[:known])))
            for record in history[known:]:
                maintenance.record_calibration(record, "ines")
            alone = maintenance.known(["LAMP-1"])["LAMP-1"].standing(node, at)
            assert alone == found(_newest(history), *_by_name(contracts), at=at, node=node, **line)

            reports = NodeReports.model_validate_json(maintenance.reports().model_dump_json())
            maintenance.confirm(max((report.number for report in reports.reports), default=0))
            last = RegisteredItem(revision=2, item=item(**line), last_calibration=_newest(history))
            page = RegisterPage(since=1, revision=2, items=(last,))
            maintenance.take_register(RegisterPage.model_validate_json(page.model_dump_json()))
            assert maintenance.known(["LAMP-1"])["LAMP-1"].standing(node, at) == alone


class TestTheWorkedExample:
    """Specification 4, "SmartMaintenance Contract Execution Workflow Example", at 2025-02-13; its printed dates do not
    agree with its printed ages (`tests/unit/test_calibration.py`)."""

    AT = datetime(2025, 2, 13, 8, tzinfo=UTC)

    def test_blocks_with_the_thermometer_and_goes_on_with_its_new_certificate(self, tmp_path: Path) -> None:
        maintenance = NodeMaintenance(NODE, disk(tmp_path), lambda: self.AT)
        types: dict[str, Any] = {"equipment_types": ["uv_lamp", "thermometer"], "calibration_interval_days": 180}
        maintenance.take_contract(delivered(in_force(**types)))
        thermometer = item("THERMO-1", equipment_type="thermometer", description="Digital thermometer")
        Register(maintenance).write(
            (item(), calibrated(date(2024, 11, 15))),
            (thermometer, calibrated(date(2024, 8, 7), "THERMO-1", "T-1")),
        )

        def stand() -> list[tuple[EquipmentState, CalibrationState, int | None]]:
            standings = [known.standing(NODE, self.AT) for known in maintenance.here().values()]
            return [(each.state, each.calibration, each.days_left) for each in standings]

        light = (EquipmentState.READY, CalibrationState.CURRENT, 90)
        assert stand() == [light, (EquipmentState.EXPIRED, CalibrationState.EXPIRED, -10)]
        maintenance.validate_calibration("THERMO-1")
        assert maintenance.reports().reports[-1].metadata == {
            "valid": False,
            "equipment_id": "THERMO-1",
            "description": "Digital thermometer",
            "status": "expired",
            "last_calibration_date": "2024-08-07",
            "calibration_certificate": "T-1",
            "calibration_age_days": 190,
            "days_overdue": 10,
            "reason": "THERMO-1 was due for calibration on 2025-02-03",
        }

        maintenance.record_calibration(calibrated(self.AT.date(), "THERMO-1", "T-2"), "ines")
        assert stand() == [light, (EquipmentState.READY, CalibrationState.CURRENT, 180)]
        recorded, validated = maintenance.reports().reports[-2:]
        assert (recorded.action, validated.action) == ("record_calibration", "validate_calibration")
        assert recorded.metadata == {
            "success": True,
            "equipment_id": "THERMO-1",
            "previous_calibration": "2024-08-07",
            "new_calibration": "2025-02-13",
            "certificate": "T-2",
            "next_due": "2025-08-12",
            "calibration": calibrated(self.AT.date(), "THERMO-1", "T-2").model_dump(mode="json"),
        }
        assert validated.details == "Calibration check: Digital thermometer - current"
        assert validated.metadata == {
            "valid": True,
            "equipment_id": "THERMO-1",
            "description": "Digital thermometer",
            "status": "current",
            "last_calibration_date": "2025-02-13",
            "calibration_certificate": "T-2",
            "calibration_age_days": 0,
            "days_remaining": 180,
        }


def _newest(history: list[CalibrationRecord]) -> CalibrationRecord | None:
    """As the hub has it: by date, of one day the one that was recorded last."""
    return max(enumerate(history), key=lambda each: (each[1].calibrated_on, each[0]))[1] if history else None


def _by_name(contracts: list[ContractInForce]) -> list[ContractInForce]:
    return sorted(contracts, key=lambda each: each.contract.smart_contract_id)
