"""The daily watch: a year of it, over the node's real disk, on a server whose days pass at once."""

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from schemas.node_report import NodeReport
from tests.workflows.shop import MemoryLedger, Shop, check_histories, main_worker
from tests.workflows.watches import Watched

DAY = timedelta(days=1)


@pytest_asyncio.fixture
async def watched(environment: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Watched]:
    with closing(Watched(Shop(environment, MemoryLedger(), tmp_path), tmp_path)) as watched:
        async with main_worker(watched.shop):
            yield watched
            await check_histories(watched.shop)


def reminders(reports: list[NodeReport]) -> list[tuple[str, str, str]]:
    """Who people were told of, what, and how many days before or after."""
    told = []
    for report in reports:
        if report.action == "generate_alert" and report.alert and report.alert.issue:
            data = report.alert.issue.data
            days = data.get("days_remaining") or f"-{data['days_overdue']}"
            told.append((report.alert.subject, report.alert.alert_type.removeprefix("calibration_"), days))
    return told


class TestAYear:
    async def test_reminds_of_each_certificate_once_at_each_step(self, watched: Watched) -> None:
        now = await watched.shop.now()
        await watched.shop.pass_time(timedelta(hours=(36 - now.hour) % 24))  # noon in UTC: summer time moves no day
        await watched.contract(calibration_interval_days=3650)
        for name, due_in in (("IN-A-YEAR", 364), ("IN-TWO-MONTHS", 60), ("SOON", 10), ("OVER", -5)):
            await watched.instrument(name, due_in)
        await watched.instrument("OUT-OF-WARNING", 40, warning_days=0)
        days: dict[int, list[tuple[str, str, str]]] = {}
        watched.take_told()
        async with watched.online():
            for day in range(365):
                if day == 61:  # the day after it expired
                    await watched.calibrate("IN-TWO-MONTHS", 180, "C-2")
                await watched.watch()
                if told := reminders(watched.take_told()):
                    days[day] = told
                await watched.shop.pass_time(DAY)
        watched.shop.workflow_ids.clear()  # one replays as the other

        def of(name: str) -> list[tuple[int, str, str]]:
            return [(day, what, left) for day, told in days.items() for who, what, left in told if who == name]

        assert of("IN-A-YEAR") == [
            *((364 - left, "expiring", str(left)) for left in (30, 14, 7, 1)),
        ]
        assert of("IN-TWO-MONTHS") == [
            *((60 - left, "expiring", str(left)) for left in (30, 14, 7, 1)),
            *((241 - left, "expiring", str(left)) for left in (30, 14, 7, 1)),
            (242, "expired", "-1"),
        ]
        assert of("SOON") == [
            *((10 - left, "expiring", str(left)) for left in (10, 7, 1)),
            (11, "expired", "-1"),
        ]
        assert of("OVER") == [(0, "expired", "-5")]
        assert of("OUT-OF-WARNING") == [
            *((40 - left, "expiring", str(left)) for left in (30, 14, 7, 1)),
            (41, "expired", "-1"),
        ]


class TestAWatch:
    async def test_is_recorded_as_the_specification_says(self, watched: Watched) -> None:
        contract = await watched.contract()
        await watched.instrument("OVER", -5)
        await watched.instrument("SOON", 12)
        await watched.instrument("FINE", 90)
        async with watched.online():
            report = await watched.watch()
        [entry] = watched.told("check_expiry")
        calibrated_on = str(await watched.today() - timedelta(days=90))
        assert entry.metadata == {
            "check_timestamp": report.model_dump(mode="json")["check_timestamp"],
            "node_id": watched.shop.node,
            "expired_count": 1,
            "expiring_soon_count": 1,
            "current_count": 1,
            "equipment_status": [
                {
                    "equipment_id": "OVER",
                    "description": "Thermometer OVER",
                    "last_calibration": calibrated_on,
                    "days_until_expiry": -5,
                    "status": "expired",
                },
                {
                    "equipment_id": "SOON",
                    "description": "Thermometer SOON",
                    "last_calibration": calibrated_on,
                    "days_until_expiry": 12,
                    "status": "expiring_soon",
                },
            ],
        }
        assert entry.details == "Calibration expiry check: 1 expired, 1 expiring soon"
        over, soon = watched.told("generate_alert")
        assert over.alert is not None
        assert over.alert.issue is not None
        assert (over.alert.alert_type, over.alert.severity) == ("calibration_expired", "high")
        assert (over.alert.issue.contract_id, over.alert.issue.node_id) == (contract, watched.shop.node)
        assert soon.alert is not None
        assert (soon.alert.alert_type, soon.alert.severity) == ("calibration_expiring", "medium")
        about = {"node_id": watched.shop.node, "station_type": "LP", "requires_action": True}
        named = {"alert_type": "calibration_expired", "equipment_id": "OVER", "description": "Thermometer OVER"}
        assert over.metadata.items() >= {**about, **named, "days_overdue": 5}.items()
        named = {"alert_type": "calibration_expiring", "equipment_id": "SOON", "description": "Thermometer SOON"}
        assert soon.metadata.items() >= {**about, **named, "days_remaining": 12}.items()

    async def test_twice_on_a_day_tells_once(self, watched: Watched) -> None:
        await watched.contract()
        await watched.instrument("SOON", 12)
        async with watched.online():
            first = await watched.watch()
            assert await watched.watch() == first
        assert len(watched.told("check_expiry")) == len(watched.told("generate_alert")) == 1

    async def test_after_days_without_one_makes_up_for_them_by_the_tightest_reminder(self, watched: Watched) -> None:
        await watched.contract()
        await watched.instrument("SOON", 31)
        async with watched.online():
            await watched.watch()
            await watched.shop.pass_time(25 * DAY)
            await watched.watch()
        assert reminders(watched.take_told()) == [("SOON", "expiring", "6")]

    async def test_ends_the_last_reminder_with_the_next_so_that_people_are_told_anew(self, watched: Watched) -> None:
        await watched.contract()
        await watched.instrument("SOON", 14)
        async with watched.online():
            await watched.watch()
            await watched.shop.pass_time(7 * DAY)
            await watched.watch()
        first, second = watched.told("generate_alert")
        assert first.alert is not None
        assert second.alert is not None
        assert first.alert.cause == second.alert.cause
        assert first.alert.cause in second.resolved

    async def test_begins_a_longer_warning_with_a_reminder_of_its_own(self, watched: Watched) -> None:
        await watched.contract(warning_days=60)
        await watched.instrument("SOON", 61)
        async with watched.online():
            for _ in range(33):
                await watched.watch()
                await watched.shop.pass_time(DAY)
        assert [days for _, _, days in reminders(watched.take_told())] == ["60", "30"]

    async def test_of_a_node_that_is_away_is_alerted_and_goes_on_when_it_is_back(self, watched: Watched) -> None:
        await watched.contract()
        await watched.instrument("SOON", 12)
        handle = await watched.start(late_after=1)  # real time: an activity waits
        await watched.shop.recorded("watch_late")
        [alert] = watched.shop.open_alerts("node_late")
        assert f"smartfloor worker --node {watched.shop.node}" in alert.text
        async with watched.online():
            report = await handle.result()
        assert report.expiring_soon_count == 1
        assert watched.shop.open_alerts("node_late") == []

    async def test_that_is_answered_in_time_alerts_nobody(self, watched: Watched) -> None:
        async with watched.online():
            await watched.watch()
        assert watched.shop.ledger.entries == {}

    async def test_of_a_node_that_nobody_waits_for_any_more_ends_and_its_alert_with_it(self, watched: Watched) -> None:
        handle = await watched.start(late_after=1)
        await watched.shop.recorded("watch_late")
        await handle.cancel()
        await watched.shop.recorded("watch_ended")
        assert watched.shop.open_alerts("node_late") == []

    async def test_of_another_day_ends_the_alert_of_one_that_was_closed_from_outside(self, watched: Watched) -> None:
        handle = await watched.start(late_after=1)
        await watched.shop.recorded("watch_late")
        await handle.terminate()
        watched.shop.workflow_ids.discard(handle.id)
        [late] = watched.shop.open_alerts("node_late")
        async with watched.online():
            await watched.watch()
        [found] = watched.told("check_expiry")
        assert late.cause in found.resolved
