"""Which shift a time belongs to."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.shift import Shift, Weekday, period


def shift(start: str, end: str, *days: Weekday) -> Shift:
    return Shift.model_validate({"from": start, "to": end} | ({"days": days} if days else {}))


EARLY, LATE, NIGHT = shift("06:00", "14:00"), shift("14:00", "22:00"), shift("22:00", "06:00")
FRIDAY = datetime(2026, 11, 20)  # noqa: DTZ001 - on the wall


def on_friday(hours: float) -> datetime:
    return FRIDAY + timedelta(hours=hours)


class TestThePeriod:
    @pytest.mark.parametrize(
        ("at", "began"), [(6, 6), (13.9, 6), (14, 14), (21.9, 14), (22, 22), (25, 22), (29.9, 22), (30, 30)]
    )
    def test_begins_with_the_shift_that_is_on_duty(self, at: float, began: float) -> None:
        assert period((EARLY, LATE, NIGHT), on_friday(at)) == on_friday(began)

    def test_begins_at_midnight_without_shifts(self) -> None:
        assert period((), on_friday(23.9)) == FRIDAY

    def test_is_that_of_the_shift_that_began_last_where_two_overlap(self) -> None:
        overlapping = (shift("06:00", "14:30"), shift("14:00", "22:30"))
        assert period(overlapping, on_friday(14.25)) == on_friday(14)

    @pytest.mark.parametrize("at", [15, 29.9, 24 + 7, 48 + 12, 72 + 5.9])
    def test_between_shifts_begins_when_the_last_one_ended(self, at: float) -> None:
        assert period((shift("06:00", "14:00", *list(Weekday)[:5]),), on_friday(at)) == on_friday(14)

    @given(st.floats(0, 400), st.floats(0, 400))
    def test_never_goes_back(self, one: float, other: float) -> None:
        shifts = (shift("06:00", "14:00", *list(Weekday)[:5]), shift("13:00", "01:00", Weekday.SAT))
        earlier, later = (period(shifts, on_friday(at)) for at in sorted((one, other)))
        assert earlier <= later
        assert later <= on_friday(max(one, other))
