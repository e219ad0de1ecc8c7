"""What is in doubt, and what a decision on it is bound to."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.reverse_trace import (
    SEARCH_AGAIN,
    DisposeTraced,
    Horizon,
    Selection,
    TraceLife,
    TraceStart,
    TraceStatus,
    UnderWay,
    decided_content,
    trace_id,
)
from schemas.test_execution import TestStatus
from schemas.test_results import Instrument

FOUND_AT = datetime(2026, 7, 2, 8, tzinfo=UTC)
BAD_ON = date(2026, 7, 1)

RESULT = st.tuples(
    st.text("ABC", min_size=1), st.integers(1, 9), st.text("T12", min_size=1), st.text("0af", min_size=1)
)


def trace(since: date | None = date(2026, 1, 10)) -> TraceStart:
    return TraceStart(
        trace_id="T",
        equipment_id="MIC-7",
        certificate_number="CAL-BAD",
        calibrated_on=BAD_ON,
        since=since,
        found_at=FOUND_AT,
    )


def used(calibrated_on: date | None, name: str = "MIC-7") -> Instrument:
    return Instrument(
        equipment_id=name,
        equipment_type="micrometer",
        certificate=None if calibrated_on is None else "CAL",
        calibrated_on=calibrated_on,
        due_on=None if calibrated_on is None else calibrated_on + timedelta(days=365),
    )


class TestATest:
    @pytest.mark.parametrize(
        ("calibrated_on", "begun", "doubted"),
        [
            (BAD_ON - timedelta(days=1), FOUND_AT + timedelta(days=90), True),
            (BAD_ON, FOUND_AT, True),
            (BAD_ON, FOUND_AT + timedelta(seconds=1), False),
            (BAD_ON + timedelta(days=1), FOUND_AT - timedelta(hours=1), False),
            (None, FOUND_AT, True),
            (None, FOUND_AT + timedelta(seconds=1), False),
        ],
    )
    def test_is_in_doubt_that_relied_on_a_calibration_before_the_bad_one_or_on_none(
        self, calibrated_on: date | None, begun: datetime, doubted: bool
    ) -> None:
        assert trace().doubts([used(BAD_ON, "MIC-8"), used(calibrated_on)], begun) is doubted

    def test_that_cites_the_bad_one_itself_is_not_in_doubt(self) -> None:
        adjusted = used(BAD_ON).model_copy(update={"certificate": "CAL-BAD"})
        assert not trace().doubts([adjusted], FOUND_AT - timedelta(hours=1))

    def test_with_other_instruments_is_not_in_doubt(self) -> None:
        assert not trace().doubts([used(date(2020, 1, 1), "MIC-8")], FOUND_AT)


class TestTheDayOfTheLastGoodCalibration:
    def test_begins_where_the_node_is(self) -> None:
        assert trace().begins_at(ZoneInfo("America/Los_Angeles")) == datetime(2026, 1, 10, 8, tzinfo=UTC)

    @given(st.dates(), st.sampled_from(["Pacific/Kiritimati", "Etc/GMT+12", "Europe/Berlin", "UTC"]))
    def test_begins_nowhere_before_it_begins_for_an_unknown_node(self, since: date, zone: str) -> None:
        if date(1, 1, 2) < since < date(9999, 12, 30):
            assert trace(since).begins_at(None) <= trace(since).begins_at(ZoneInfo(zone))

    def test_that_never_was_lets_everything_be_in_doubt(self) -> None:
        assert trace(None).begins_at(None) == datetime(1, 1, 1, tzinfo=UTC)

    def test_may_be_the_first_that_there_is(self) -> None:
        assert trace(date.min).begins_at(None) == datetime(1, 1, 1, tzinfo=UTC)


class TestADecision:
    @given(st.lists(RESULT, unique=True), st.randoms())
    def test_is_on_results_in_whatever_order(self, results: list[tuple[str, int, str, str]], chance: Random) -> None:
        shuffled = results.copy()
        chance.shuffle(shuffled)
        assert decided_content("T", shuffled) == decided_content("T", results)

    @given(st.sets(RESULT), st.sets(RESULT))
    def test_on_other_results_is_another_one(
        self, one: set[tuple[str, int, str, str]], other: set[tuple[str, int, str, str]]
    ) -> None:
        assert (decided_content("T", one) == decided_content("T", other)) is (one == other)

    def test_in_another_trace_is_another_one(self) -> None:
        assert decided_content("T", [("A", 1, "B", "c")]) != decided_content("U", [("A", 1, "B", "c")])


class TestASelection:
    def test_of_a_test_names_its_contract(self) -> None:
        with pytest.raises(ValidationError, match="smart_contract_id"):
            Selection(test_id="T-1")

    def test_is_read_from_a_disposition_without_its_token(self) -> None:
        told = DisposeTraced(clientpo_id="CPO-1", token="t", reason="r")
        assert told.terms == {"clientpo_id": "CPO-1"}


class TestATracesName:
    def test_is_an_identifier_whatever_the_certificate_is_called(self) -> None:
        name = trace_id("M" * 128, "Nr. 7/ä €")
        assert TraceStart(**{**trace().model_dump(), "trace_id": name}).trace_id == name

    def test_is_another_one_for_each_calibration_of_an_instrument(self) -> None:
        assert len({trace_id("M", "A"), trace_id("M", "B"), trace_id("M" * 128, "A"), trace_id("M" * 127, "A")}) == 4


class TestALife:
    def test_waits_for_people_then_for_tests_and_is_over_when_nothing_can_come(self) -> None:
        life = TraceLife()
        assert life.status is TraceStatus.SEARCHING
        life.searched_at, life.waiting, life.under_way = FOUND_AT, 1, ("SC-1",)
        assert (life.status, life.over) == (TraceStatus.AWAITING_DISPOSITION, False)
        life.waiting = 0
        assert (life.status, life.over) == (TraceStatus.AWAITING_TESTS, False)
        life.under_way = ()
        assert not life.over  # its node may not have heard of it
        life.heard_at = life.searched_at
        assert not life.over  # a start may just have been answered
        life.searched_at = FOUND_AT + SEARCH_AGAIN
        assert life.over

    def test_is_searched_again_after_a_day(self) -> None:
        life = TraceLife(searched_at=FOUND_AT)
        assert life.patience(FOUND_AT + timedelta(hours=20)) == timedelta(hours=4)
        assert life.patience(FOUND_AT + timedelta(days=9)) == timedelta(0)


class TestTheHorizon:
    def test_lets_tests_be_held_that_are_not_on_hold_or_with_the_guardian(self) -> None:
        tests = tuple(UnderWay(smart_contract_id=status.upper(), status=status) for status in TestStatus)
        held = set(Horizon(until=1, tests=tests).holdable)
        assert {"HOLD", "AUTHORIZING"} == {status.upper() for status in TestStatus} - held
