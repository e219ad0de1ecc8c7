"""The state of a calibration: its laws, and the worked example of specification 4."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calibration import WARNING_DAYS, Calibration, CalibrationState, Certificate, calibration

PENDING = CalibrationState.PENDING_CALIBRATION
CURRENT = CalibrationState.CURRENT
EXPIRING_SOON = CalibrationState.EXPIRING_SOON
EXPIRED = CalibrationState.EXPIRED

IN_TIME = [PENDING, CURRENT, EXPIRING_SOON, EXPIRED]

days = st.dates(date(1990, 1, 1), date(2100, 12, 31))
intervals = st.integers(1, 2000).map(timedelta)
warnings = st.integers(0, 400)


def certificate(calibrated_on: date, equipment_id: str = "LAMP-1") -> Certificate:
    return Certificate(equipment_id=equipment_id, number="C-1", calibrated_on=calibrated_on)


def found(calibrated_on: date, due: date | timedelta, day: date, warning_days: int = WARNING_DAYS) -> Calibration:
    """Due on that day, or after so many days."""
    due_on = calibrated_on + due if isinstance(due, timedelta) else due
    return calibration("LAMP-1", certificate(calibrated_on), due_on, day, warning_days)


class TestTheWorkedExample:
    """Specification 4, "SmartMaintenance Contract Execution Workflow Example".

    It prints two dates of calibration and two ages, and they do not agree: 2024-11-15 is 90 days old on 2025-02-13, on
    which 2024-06-10 is 248 days old, not 190. Taken are the ages, and with them 2025-02-13 and the thermometer
    calibrated on 2024-08-07; the inspection light's date agrees.
    """

    TODAY = date(2025, 2, 13)
    INTERVAL = timedelta(days=180)

    def test_the_dates_taken_have_the_printed_ages(self) -> None:
        assert (self.TODAY - date(2024, 11, 15)).days == 90
        assert (self.TODAY - date(2024, 8, 7)).days == 190

    def test_the_light_is_current_with_90_days_remaining(self) -> None:
        light = found(date(2024, 11, 15), self.INTERVAL, self.TODAY)
        assert light == Calibration(state=CURRENT, due_on=date(2025, 5, 14), days_left=90)

    def test_the_thermometer_expired_10_days_ago(self) -> None:
        thermometer = found(date(2024, 8, 7), self.INTERVAL, self.TODAY)
        assert (thermometer.state, thermometer.due_on, thermometer.days_left) == (EXPIRED, date(2025, 2, 3), -10)
        assert thermometer.refusal == "LAMP-1 was due for calibration on 2025-02-03"

    def test_the_thermometer_is_current_once_it_is_calibrated(self) -> None:
        assert found(self.TODAY, self.INTERVAL, self.TODAY).state is CURRENT


class TestTheLaws:
    @given(days, intervals, days, st.integers(-40_000, 40_000), warnings)
    def test_only_the_distances_between_dates_count(
        self, calibrated_on: date, interval: timedelta, day: date, shift: int, warning_days: int
    ) -> None:
        here = found(calibrated_on, interval, day, warning_days)
        moved = timedelta(days=shift)
        there = found(calibrated_on + moved, interval, day + moved, warning_days)
        assert (here.state, here.days_left) == (there.state, there.days_left)

    @given(days, days | intervals, days, days, warnings)
    def test_time_never_leads_back(
        self, calibrated_on: date, due: date | timedelta, one: date, other: date, warning_days: int
    ) -> None:
        earlier, later = (found(calibrated_on, due, day, warning_days).state for day in sorted((one, other)))
        assert IN_TIME.index(earlier) <= IN_TIME.index(later)

    @given(days, intervals, st.data())
    def test_valid_from_the_calibration_through_the_due_date_and_on_no_other_day(
        self, calibrated_on: date, interval: timedelta, data: st.DataObject
    ) -> None:
        due_on = calibrated_on + interval
        between = data.draw(st.dates(calibrated_on, due_on))
        for day in (calibrated_on, between, due_on):
            assert found(calibrated_on, interval, day).refusal is None
        for day in (calibrated_on - timedelta(days=1), due_on + timedelta(days=1)):
            assert found(calibrated_on, interval, day).refusal is not None

    @given(days, intervals, days, warnings)
    def test_usable_means_current_or_expiring_soon(
        self, calibrated_on: date, interval: timedelta, day: date, warning_days: int
    ) -> None:
        answer = found(calibrated_on, interval, day, warning_days)
        assert (answer.refusal is None) == (answer.state in (CURRENT, EXPIRING_SOON))

    @given(st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001
    def test_the_same_instant_may_be_the_due_date_in_one_zone_and_past_it_in_another(self, at: datetime) -> None:
        west, east = (at.astimezone(ZoneInfo(zone)).date() for zone in ("Etc/GMT+12", "Etc/GMT-14"))
        assert found(west - timedelta(days=365), west, west).state is EXPIRING_SOON
        assert found(west - timedelta(days=365), west, east).state is EXPIRED


class TestTheEdges:
    DUE = date(2026, 7, 1)

    @pytest.mark.parametrize(
        ("day", "state", "days_left"),
        [
            (date(2026, 5, 31), CURRENT, 31),
            (date(2026, 6, 1), EXPIRING_SOON, 30),
            (date(2026, 7, 1), EXPIRING_SOON, 0),
            (date(2026, 7, 2), EXPIRED, -1),
        ],
    )
    def test_of_the_default_warning(self, day: date, state: CalibrationState, days_left: int) -> None:
        answer = found(date(2026, 1, 1), self.DUE, day)
        assert (answer.state, answer.days_left, answer.due_on) == (state, days_left, self.DUE)

    @pytest.mark.parametrize(
        ("held", "due", "refusal"),
        [
            (None, DUE, "LAMP-1 has no calibration certificate with its dates"),
            (certificate(date(2026, 1, 1)), None, "LAMP-1 has no calibration certificate with its dates"),
            (
                certificate(date(2026, 1, 1), equipment_id="LAMP-2"),
                DUE,
                "LAMP-1 has the calibration certificate C-1, which is for LAMP-2",
            ),
            (certificate(date(2026, 2, 2)), DUE, "LAMP-1 is calibrated on 2026-02-02, which is not yet"),
        ],
    )
    def test_what_calibrates_nothing_leaves_it_pending(
        self, held: Certificate | None, due: date | None, refusal: str
    ) -> None:
        answer = calibration("LAMP-1", held, due, date(2026, 2, 1), WARNING_DAYS)
        assert answer == Calibration(state=PENDING, refusal=refusal)
