"""Alerts about one contract and one issue: counted once, until an engineer is asked what to do."""

import json
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from schemas import names
from schemas.approval import RULES, ApprovalType
from schemas.permission import Role
from tests.workflows.patterns import WINDOW, Pattern
from tests.workflows.shop import MemoryLedger, Shop, check_histories, main_worker, shows


@pytest_asyncio.fixture
async def pattern(environment: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Pattern]:
    with closing(Shop(environment, MemoryLedger(), tmp_path)) as shop:
        pattern = Pattern(shop)
        async with main_worker(shop, more=pattern.activities()):
            yield pattern
            await check_histories(shop)


async def settled(pattern: Pattern) -> None:
    """All that was said before is handled: this is, too."""
    before = len(pattern.entries("refuse_request"))
    await pattern.handle.signal("nonsense")
    await pattern.recorded("refuse_request", before + 1)


class TestAnAlert:
    async def test_is_recorded_as_the_specification_says(self, pattern: Pattern) -> None:
        alert = await pattern.alert(ago=timedelta(hours=5), data={"certificate": "C-1"})
        entry = await pattern.recorded("receive_alert")
        assert entry.metadata == {
            "alert_id": alert.alert_id,
            "node_id": "N1",
            "equipment_id": "THERMO-N1",
            "equipment_type": "thermometer",
            "issue_type": "calibration_failed",
            "pattern_count": 1,
        }
        assert (entry.action_type, entry.occurred_at) == ("maintenance", alert.happened_at)
        row = pattern.shop.ledger.maintenance_alerts[alert.alert_id]
        assert (row.contract_id, row.occurred_at) == (pattern.contract_id, alert.happened_at)
        assert json.loads(row.data) == {"certificate": "C-1"}

    async def test_that_comes_again_counts_once(self, pattern: Pattern) -> None:
        first = await pattern.alert()
        for _ in range(3):
            await pattern.again(first)
        await settled(pattern)
        assert len(pattern.entries("receive_alert")) == 1
        assert pattern.entries("analyze_alerts") == []

    async def test_that_comes_again_after_its_review_counts_once_too(self, pattern: Pattern) -> None:
        told = await pattern.alerts("N1", "N1", "N1")
        await (await pattern.review()).answer("refuse", "the thermometers were dropped")
        for alert in told:
            await pattern.again(alert)
        await settled(pattern)
        assert len(pattern.entries("receive_alert")) == 3
        assert len(pattern.entries("analyze_alerts")) == 1

    async def test_that_comes_late_counts_when_it_happened(self, pattern: Pattern) -> None:
        await pattern.alerts("N1", "N2")
        await pattern.alert("N3", ago=WINDOW - timedelta(hours=1))
        review = await pattern.review()
        assert review.entry.metadata["total_alerts"] == 3

    async def test_that_comes_later_than_the_window_is_long_is_recorded_and_counts_no_more(
        self, pattern: Pattern
    ) -> None:
        await pattern.alert("N1", ago=WINDOW + timedelta(hours=1))
        entry = await pattern.recorded("receive_alert")
        assert entry.metadata["pattern_count"] == 0
        assert "too late" in entry.details
        await pattern.alerts("N1", "N1")
        await settled(pattern)
        assert pattern.entries("analyze_alerts") == []

    async def test_that_is_too_late_and_comes_again_with_other_words_stops_nothing(self, pattern: Pattern) -> None:
        late = await pattern.alert("N1", ago=WINDOW + timedelta(hours=1))
        await pattern.recorded("receive_alert")
        await pattern.again(late.model_copy(update={"node_id": "N2"}))
        await pattern.alerts("N1", "N1", "N1")
        await pattern.review()
        assert len(pattern.entries("receive_alert")) == 4
        assert pattern.shop.ledger.conflicts == []

    async def test_that_comes_again_when_it_was_forgotten_stops_nothing_and_counts_no_more(
        self, pattern: Pattern
    ) -> None:
        """A foreign station repeats it under one ID and says no time, so that it has happened now."""
        first = await pattern.alert("N1")
        await pattern.recorded("receive_alert")
        await pattern.shop.pass_time(2 * WINDOW + timedelta(hours=1))
        await pattern.handle.result()
        await pattern.again(first.model_copy(update={"happened_at": await pattern.shop.now(), "node_id": "N4"}))
        await pattern.alerts("N2", "N3")
        assert (await pattern.recorded("receive_alert", 3)).metadata["pattern_count"] == 2
        assert pattern.entries("analyze_alerts") == []
        assert pattern.shop.ledger.conflicts == []

    async def test_from_tomorrow_happened_now(self, pattern: Pattern) -> None:
        await pattern.alert("N1", ago=timedelta(days=-4000))
        entry = await pattern.recorded("receive_alert")
        assert entry.occurred_at is not None
        assert entry.occurred_at <= await pattern.shop.now()

    async def test_about_something_else_is_refused(self, pattern: Pattern) -> None:
        alert = await pattern.alert()
        await pattern.handle.signal(names.ALERT_RECEIVED, alert.model_copy(update={"contract_id": "LP-other"}))
        refused = await pattern.recorded("refuse_request")
        assert "LP-other" in refused.details
        assert len(pattern.entries("receive_alert")) == 1


class TestThreeAlerts:
    async def test_of_one_node_ask_about_its_equipment(self, pattern: Pattern) -> None:
        await pattern.alerts("N1", "N1", "N1")
        review = await pattern.review()
        assert review.row["review_type"] == review.approval.row["request_type"] == "equipment_review"
        assert "THERMO-N1 out of service" in review.approval.row["changes"]
        assert review.entry.metadata["critical_patterns"] == review.entry.metadata["recommended_updates"] == []

    async def test_of_two_nodes_ask_about_the_contract(self, pattern: Pattern) -> None:
        told = await pattern.alerts("N1", "N1", "N2")
        review = await pattern.review()
        assert review.row["review_type"] == "contract_review"
        assert json.loads(review.row["alert_ids"]) == [alert.alert_id for alert in told]
        assert json.loads(review.row["node_ids"]) == ["N1", "N2"]
        metadata = review.entry.metadata
        assert (metadata["total_alerts"], metadata["unique_patterns"]) == (3, 1)
        [critical] = metadata["critical_patterns"]
        assert (critical["pattern"], critical["count"], critical["affected_nodes"]) == (
            f"{pattern.contract_id}:calibration_failed",
            3,
            2,
        )
        assert [update["action"] for update in metadata["recommended_updates"]] == ["create_new_version"]
        assert json.loads(review.approval.row["changes"]) == [
            {"field": "/calibration_interval_days", "before": 180, "after": 120}
        ]

    async def test_that_lie_farther_apart_than_the_window_ask_nothing(self, pattern: Pattern) -> None:
        for _ in range(3):
            await pattern.alert()
            await pattern.shop.pass_time(WINDOW / 2 + timedelta(hours=1))
        await settled(pattern)
        assert pattern.entries("analyze_alerts") == []

    async def test_show_in_the_web_ui_who_is_asked_what(self, pattern: Pattern) -> None:
        await pattern.alerts("N1", "N2", "N2")
        await pattern.review()
        await shows(pattern.handle, "calibration_interval_days: 180 → 120")


class TestAnAcceptedReview:
    async def test_of_a_contract_makes_a_draft_with_the_data_behind_it(self, pattern: Pattern) -> None:
        told = await pattern.alerts("N1", "N2", "N1")
        review = await pattern.review()
        await review.answer("approve", "seen it myself")
        [new] = pattern.asked
        assert (new.contract_id, new.parent_version, new.key) == (pattern.contract_id, "1.0", review.id)
        assert new.created_by == "mia"
        [change] = new.changes
        assert [one["alert_id"] for one in change.data["alerts"]] == [alert.alert_id for alert in told]
        assert (review.row["status"], review.row["draft_version"]) == ("accepted", "1.1")
        ended = await pattern.recorded("end_review")
        assert (ended.user_id, ended.metadata["draft_version"]) == ("mia", "1.1")

    async def test_of_equipment_makes_none_and_says_what_to_do(self, pattern: Pattern) -> None:
        await pattern.alerts("N1", "N1", "N1")
        review = await pattern.review()
        await review.answer("approve")
        assert (review.row["status"], review.row["draft_version"]) == ("accepted", None)
        assert pattern.asked == []
        assert "Take THERMO-N1 out of service" in (await pattern.recorded("end_review")).details

    async def test_of_a_contract_that_is_not_in_force_makes_none_and_says_so(self, pattern: Pattern) -> None:
        pattern.in_force = None
        await pattern.alerts("N1", "N2", "N1")
        review = await pattern.review()
        await review.answer("approve")
        assert review.row["draft_version"] is None
        assert "No version of the contract is in force" in (await pattern.recorded("end_review")).details

    async def test_whose_draft_the_hub_cannot_make_ends_and_says_why(self, pattern: Pattern) -> None:
        pattern.refusal = "the version was retired"
        await pattern.alerts("N1", "N2", "N1")
        review = await pattern.review()
        await review.answer("approve")
        assert (review.row["status"], review.row["draft_version"]) == ("accepted", None)
        assert "the version was retired" in (await pattern.recorded("end_review")).details


class TestAReviewThatIsNotAccepted:
    async def test_is_declined_with_its_reason(self, pattern: Pattern) -> None:
        await pattern.alerts("N1", "N2", "N1")
        review = await pattern.review()
        await review.answer("refuse", "a bad batch of thermometers, sent back")
        assert (review.row["status"], review.row["note"]) == ("declined", "a bad batch of thermometers, sent back")
        ended = await pattern.recorded("end_review")
        assert ended.metadata["reason"] == "a bad batch of thermometers, sent back"
        assert pattern.asked == []

    async def test_cannot_be_declined_without_a_reason(self, pattern: Pattern) -> None:
        await pattern.alerts("N1", "N2", "N1")
        review = await pattern.review()
        await review.approval.answer("refuse", by="mia", role=Role.MAINTENANCE_ENGINEER)
        refused = await review.approval.recorded("refuse_decision")
        assert "say why" in refused.details
        assert review.row["status"] == "open"

    async def test_expires_where_nobody_answers_and_the_next_alerts_count(self, pattern: Pattern) -> None:
        await pattern.alerts("N1", "N2", "N1")
        review = await pattern.review()
        await pattern.shop.pass_time(RULES[ApprovalType.CONTRACT_REVIEW].expires_after + timedelta(hours=1))
        await pattern.recorded("end_review")
        assert review.row["status"] == "expired"
        await pattern.alerts("N1", "N2", "N1")
        assert (await pattern.review(2)).id != review.id


class TestAlertsThatComeWhileAReviewIsOpen:
    async def test_are_counted_for_the_next(self, pattern: Pattern) -> None:
        await pattern.alerts("N1", "N2", "N1")
        first = await pattern.review()
        later = await pattern.alerts("N3", "N3", "N3", "N2")
        await pattern.recorded("receive_alert", 7)
        assert len(pattern.entries("analyze_alerts")) == 1
        await first.answer("refuse", "known")
        second = await pattern.review(2)
        assert json.loads(second.row["alert_ids"]) == [alert.alert_id for alert in later]


class TestAForgedEnd:
    async def test_of_an_open_review_is_refused(self, pattern: Pattern) -> None:
        await pattern.alerts("N1", "N2", "N1")
        review = await pattern.review()
        await pattern.handle.signal(names.APPROVAL_ENDED, {"approval_id": review.id})
        await pattern.recorded("refuse_request")
        assert review.row["status"] == "open"
        assert pattern.asked == []


class TestTheEntity:
    async def test_ends_when_no_alert_can_count_any_more_and_begins_anew(self, pattern: Pattern) -> None:
        await pattern.alert()
        await pattern.recorded("receive_alert")
        await pattern.shop.pass_time(2 * WINDOW - timedelta(hours=1))
        assert (await pattern.handle.describe()).status is WorkflowExecutionStatus.RUNNING
        await pattern.shop.pass_time(timedelta(hours=2))
        await pattern.handle.result()
        await pattern.alert()
        await pattern.recorded("receive_alert", 2)

    async def test_refuses_to_be_cancelled_and_forgets_nothing(self, pattern: Pattern) -> None:
        await pattern.alerts("N1", "N2")
        await pattern.recorded("receive_alert", 2)
        await pattern.handle.cancel()
        await pattern.recorded("refuse_request")
        await pattern.alert()
        await pattern.review()

    async def test_waits_for_a_ledger_that_is_away(self, pattern: Pattern) -> None:
        pattern.shop.ledger.away = True
        await pattern.alerts("N1", "N2", "N1")
        pattern.shop.ledger.away = False
        review = await pattern.review()
        assert review.entry.metadata["total_alerts"] == 3

    async def test_asks_about_what_was_counted_before_it_was_closed(self, pattern: Pattern) -> None:
        for node in ("N1", "N2", "N1"):
            pattern.known.take(await pattern.told(node))
        await pattern.goes_on()
        review = await pattern.review()
        assert review.entry.metadata["total_alerts"] == 3
