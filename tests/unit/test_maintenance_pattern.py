"""What alerts teach: when a review is needed, whatever order they come in."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import Settings
from schemas.approval import ApprovalType
from schemas.maintenance_alert import TeachingAlert
from schemas.maintenance_pattern import KNOWN, TEACHES, WAITING, Finding, PatternLife, gravest

DAY = datetime(2026, 11, 1, 8, tzinfo=UTC)
WINDOW = timedelta(days=30)


def alert(number: int, node: str = "N1", *, days: float = 0) -> TeachingAlert:
    return TeachingAlert(
        alert_id=f"A-{number}",
        issue_type="check_failed",
        contract_id="LP-uv",
        equipment_id=f"LAMP-{number}",
        equipment_type="uv_lamp",
        node_id=node,
        happened_at=DAY + timedelta(days=days),
    )


def found(*alerts: TeachingAlert) -> ApprovalType | None:
    finding = gravest(alerts, WINDOW)
    return finding.review_type if finding else None


class TestAReview:
    def test_is_of_the_equipment_where_three_alerts_are_of_one_node(self) -> None:
        assert found(alert(1), alert(2), alert(3)) is ApprovalType.EQUIPMENT_REVIEW

    def test_is_of_the_contract_where_three_alerts_are_of_two_nodes(self) -> None:
        assert found(alert(1), alert(2), alert(3, "N2")) is ApprovalType.CONTRACT_REVIEW

    def test_is_of_the_contract_where_both_hold(self) -> None:
        assert found(alert(1), alert(2), alert(3), alert(4, "N2")) is ApprovalType.CONTRACT_REVIEW

    @pytest.mark.parametrize("second", ["N1", "N2"])
    def test_needs_three(self, second: str) -> None:
        assert found(alert(1), alert(2, second)) is None

    def test_looks_back_thirty_days_unless_a_shop_says_otherwise(self) -> None:
        assert Settings.model_fields["maintenance_pattern_window"].default == timedelta(days=30)

    def test_takes_in_what_happened_a_whole_window_before(self) -> None:
        assert found(alert(1), alert(2, days=29), alert(3, days=30)) is ApprovalType.EQUIPMENT_REVIEW

    def test_takes_in_nothing_that_happened_before_that(self) -> None:
        assert found(alert(1), alert(2, days=29), alert(3, days=30.001)) is None

    def test_lists_its_alerts_by_when_they_happened(self) -> None:
        finding = gravest([alert(1, days=3), alert(2, days=1), alert(3, days=2)], WINDOW)
        assert finding is not None
        assert [one.alert_id for one in finding.alerts] == ["A-2", "A-3", "A-1"]

    def test_is_found_though_something_of_another_time_came_last(self) -> None:
        assert found(alert(1), alert(2), alert(3), alert(4, days=90)) is ApprovalType.EQUIPMENT_REVIEW


alerts = st.lists(
    st.builds(alert, st.integers(0, 9), st.sampled_from(["N1", "N2", "N3"]), days=st.integers(0, 70)),
    max_size=8,
    unique_by=lambda one: one.alert_id,
)


def came(arrivals: list[TeachingAlert]) -> Finding | None:
    life = PatternLife()
    for arrival in arrivals:
        life.take(arrival)
    return gravest(life.waiting, WINDOW)


class TestTheLaw:
    @given(alerts, st.data())
    def test_neither_order_nor_repetition_makes_a_difference(
        self, happened: list[TeachingAlert], data: st.DataObject
    ) -> None:
        repeated = data.draw(st.permutations(happened + data.draw(st.lists(st.sampled_from(happened or [alert(0)])))))
        once = [one for one in repeated if one in happened]
        assert came(once) == came(happened)

    @given(alerts)
    def test_a_review_has_three_alerts_at_least_and_none_lies_farther_apart_than_the_window(
        self, happened: list[TeachingAlert]
    ) -> None:
        finding = gravest(happened, WINDOW)
        if finding is None:
            ordered = sorted(one.happened_at for one in happened)
            assert all(third - first > WINDOW for first, third in zip(ordered, ordered[2:], strict=False))
        else:
            assert len(finding.alerts) >= 3
            assert finding.alerts[-1].happened_at - finding.alerts[0].happened_at <= WINDOW
            assert (len(finding.node_ids) > 1) == (finding.review_type is ApprovalType.CONTRACT_REVIEW)

    @given(alerts)
    def test_an_equipment_review_is_asked_only_where_no_contract_review_is_needed(
        self, happened: list[TeachingAlert]
    ) -> None:
        if found(*happened) is ApprovalType.EQUIPMENT_REVIEW:
            for end in happened:
                window = [one for one in happened if timedelta(0) <= end.happened_at - one.happened_at <= WINDOW]
                assert len(window) < 3 or len({one.node_id for one in window}) == 1


class TestWhatIsKnown:
    def test_is_forgotten_when_nothing_late_can_count_with_it_any_more(self) -> None:
        life = PatternLife()
        life.take(alert(1))
        life.forget(WINDOW, DAY + 2 * WINDOW)
        assert life.knows(alert(1))
        assert life.waiting == [alert(1)]
        life.forget(WINDOW, DAY + 2 * WINDOW + timedelta(seconds=1))
        assert not life.knows(alert(1))
        assert life.waiting == []

    def test_is_bounded_and_the_newest_stays(self) -> None:
        life = PatternLife()
        for number in range(KNOWN + 10):
            life.take(alert(number, days=number / 10_000))
        life.forget(WINDOW, DAY)
        assert (len(life.waiting), len(life.known)) == (WAITING, KNOWN)
        assert life.knows(alert(KNOWN + 9))
        assert not life.knows(alert(0))

    def test_counts_what_waits_in_the_window_that_has_the_most(self) -> None:
        life = PatternLife()
        for number, days in enumerate((0, 20, 40, 41)):
            life.take(alert(number, days=days))
        assert [life.count(one, WINDOW) for one in life.waiting] == [2, 3, 3, 3]


class TestThePatternsSize:
    def test_stays_far_below_what_temporal_carries_with_the_largest_foreign_alerts(self) -> None:
        at, window = datetime(2026, 11, 21, tzinfo=UTC), timedelta(days=30)
        data = {f"k{number}": "x" * 90 for number in range(16)} | dict.fromkeys(TEACHES, "x" * 100)
        life = PatternLife()
        for number in range(WAITING):
            told = {
                "alert_id": "A" * 390 + str(number),
                "issue_type": "check_failed",
                **dict.fromkeys(("contract_id", "equipment_id", "equipment_type"), "E" * 128),
                "node_id": f"N{number % 2}",
            }
            life.take(TeachingAlert(**told, happened_at=at + timedelta(seconds=number), data=data))
        finding = gravest(life.waiting, window)
        assert finding is not None
        assert len(finding.model_dump_json()) < 400_000

    def test_is_not_made_larger_by_an_alert_that_says_too_much(self) -> None:
        told = dict.fromkeys(
            ("alert_id", "issue_type", "contract_id", "equipment_id", "equipment_type", "node_id"), "A"
        )
        at = datetime(2026, 11, 21, tzinfo=UTC)
        with pytest.raises(ValueError, match="2000 bytes"):
            TeachingAlert(**told, happened_at=at, data={f"k{number}": "x" * 500 for number in range(5)})
