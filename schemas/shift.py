"""Shifts, in the times of the clock on the wall."""

from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.base import Model


class Weekday(StrEnum):
    """In the order of `datetime.weekday()`."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _on_the_wall(at: time) -> time:
    if at.tzinfo is not None:
        raise ValueError("write the time as the clock on the wall shows it, 06:00: its zone is the time_zone")
    return at


WallTime = Annotated[time, AfterValidator(_on_the_wall)]


class Shift(Model):
    """From one time to the next, `to` excluded; over midnight where `to` is not later.

    `days` are those on which it begins.
    """

    start: Annotated[WallTime, Field(alias="from")]
    end: Annotated[WallTime, Field(alias="to")]
    days: frozenset[Weekday] = frozenset(Weekday)

    def covers(self, local: datetime) -> bool:
        """Whether it is on duty at this time on the wall."""
        today, yesterday = (list(Weekday)[(local.weekday() - back) % 7] for back in (0, 1))
        at = local.time()
        if self.start < self.end:
            return today in self.days and self.start <= at < self.end
        return (today in self.days and at >= self.start) or (yesterday in self.days and at < self.end)


_LOOK_BACK = 8
"""Days: every shift has begun and ended within them."""


def period(shifts: Iterable[Shift], local: datetime) -> datetime:
    """When the shift began that this time belongs to; both on the wall. Of shifts that overlap, the last to begin.

    Between two shifts it is when the last one ended. Without shifts there is one a day, from midnight.
    """
    wall = local.replace(tzinfo=None)
    turns = [turn for shift in shifts for turn in _turns(shift, wall)]
    if not turns:
        return datetime.combine(wall, time.min)
    on_duty = [start for start, end in turns if wall < end]
    return max(on_duty or (end for _, end in turns))


def _turns(shift: Shift, wall: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Those of the last days that have begun."""
    for back in range(_LOOK_BACK):
        day = wall.date() - timedelta(days=back)
        start = datetime.combine(day, shift.start)
        if list(Weekday)[day.weekday()] in shift.days and start <= wall:
            over_midnight = shift.end <= shift.start
            yield start, datetime.combine(day + timedelta(days=over_midnight), shift.end)
