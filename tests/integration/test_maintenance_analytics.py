"""The analytics of maintenance: of rows and a ledger whose story is known."""

from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.ledger import Ledger
from infra.maintenance_analytics import compliance, maintenance_figures
from schemas.calibration import CalibrationState
from schemas.changes.equipment import EquipmentEvent
from schemas.changes.maintenance import DeploymentChanged, DeploymentOpened
from schemas.changes.maintenance_pattern import MaintenanceAlertReceived, ReviewEnded
from schemas.equipment import EquipmentItem, EquipmentState, Standing
from schemas.ledger import LedgerEntry
from schemas.record import Change, Record
from tests.opened import FOREVER, opened_review

DAY = datetime(2026, 6, 1, 8, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Story:
    """Records what happened, hours after a day."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._numbers = count()

    async def tell(self, action: str, *changes: Change, hours: int = 0, **metadata: Any) -> None:
        entry = LedgerEntry(
            idempotency_key=str(next(self._numbers)),
            action_type="maintenance",
            action=action,
            target="T",
            details=action,
            metadata=metadata,
            occurred_at=DAY + timedelta(hours=hours),
        )
        await self._ledger.record(Record(entry=entry, changes=changes))

    async def check(self, *, success: bool, hours: int = 0) -> None:
        await self.tell("execute_check", hours=hours, contract_id="LP-uv", check_type="daily", success=success)

    async def alert(self, number: int, node: str, hours: int = 0) -> None:
        received = MaintenanceAlertReceived(
            alert_id=f"A-{number}",
            contract_id="LP-uv",
            issue_type="check_failed",
            equipment_id=f"LAMP-{node}",
            equipment_type="uv_lamp",
            node_id=node,
            data="{}",
            occurred_at=DAY + timedelta(hours=hours),
        )
        await self.tell("receive_alert", received)

    async def review(self, name: str, status: str | None, draft: str | None = None) -> None:
        await self.tell("analyze_alerts", opened_review(name))
        if status:
            ended = ReviewEnded(review_id=name, status=status, decided_by="mia", note=None, draft_version=draft)
            await self.tell("end_review", ended)

    async def event(self, equipment: str, event: str, hours: int) -> None:
        happened = EquipmentEvent(equipment_id=equipment, event=event, node_id="N1", reason="because")
        await self.tell(event, happened, hours=hours)


@pytest_asyncio.fixture
async def story(ledger: Ledger) -> Story:
    story = Story(ledger)
    for hours, success in ((0, True), (1, True), (2, False), (30, True)):
        await story.check(success=success, hours=hours)
    for number, node in enumerate(("N1", "N1", "N2")):
        await story.alert(number, node, hours=number)
    await story.review("R-1", "accepted", "1.1")
    await story.review("R-2", "declined")
    await story.review("R-3", "expired")
    await story.review("R-4", None)
    for node in ("N1", "N2", "N3"):
        await story.tell("deploy", DeploymentOpened(contract_id="LP-uv", version="1.0", node_id=node))
    for node in ("N1", "N2"):
        acknowledged = DeploymentChanged(contract_id="LP-uv", version="1.0", node_id=node, status="acknowledged")
        await story.tell("acknowledge", acknowledged)
    for equipment, event, hours in (
        ("LAMP-1", "registered", 0),
        ("LAMP-1", "out_of_service", 1),
        ("LAMP-1", "moved", 2),
        ("LAMP-1", "returned", 3),
        ("LAMP-1", "out_of_service", 10),
        ("LAMP-1", "returned", 14),
        ("LAMP-2", "out_of_service", 20),
    ):
        await story.event(equipment, event, hours)
    return story


class TestThePeriod:
    async def test_counts_checks_by_how_they_came_out(self, story: Story, engine: AsyncEngine) -> None:
        found = await maintenance_figures(engine, LONG_AGO, FOREVER)
        assert found["checks"] == [{"contract_id": "LP-uv", "check_type": "daily", "passed": 3, "failed": 1}]

    async def test_counts_what_happened_within_it_alone(self, story: Story, engine: AsyncEngine) -> None:
        found = await maintenance_figures(engine, DAY + timedelta(hours=1), DAY + timedelta(hours=2))
        assert [(row["passed"], row["failed"]) for row in found["checks"]] == [(1, 0)]
        assert [row["alerts"] for row in found["alerts"]] == [1]

    async def test_counts_alerts_with_their_nodes_and_instruments(self, story: Story, engine: AsyncEngine) -> None:
        [row] = (await maintenance_figures(engine, LONG_AGO, FOREVER))["alerts"]
        assert (row["alerts"], row["nodes"], row["instruments"]) == (3, 2, 2)

    async def test_counts_reviews_by_their_outcome(self, story: Story, engine: AsyncEngine) -> None:
        [row] = (await maintenance_figures(engine, LONG_AGO, FOREVER))["reviews"]
        assert row.pop("decision_p50") >= 0
        assert row == {
            "contract_id": "LP-uv",
            "issue_type": "check_failed",
            "opened": 4,
            "open": 1,
            "accepted": 1,
            "declined": 1,
            "undecided": 1,
            "drafts": 1,
        }

    async def test_counts_nodes_of_a_deployment(self, story: Story, engine: AsyncEngine) -> None:
        [row] = (await maintenance_figures(engine, LONG_AGO, FOREVER))["deployments"]
        assert (row["nodes"], row["acknowledged"], row["pending"]) == (3, 2, 1)
        assert 0 <= row["acknowledgement_p50"] <= row["acknowledgement_max"]

    async def test_adds_up_the_time_out_of_service(self, story: Story, engine: AsyncEngine) -> None:
        until = DAY + timedelta(hours=24)
        found = (await maintenance_figures(engine, DAY + timedelta(hours=2), until))["out_of_service"]
        assert found == [
            {"equipment_id": "LAMP-1", "times": 2, "seconds": (1 + 4) * 3600},
            {"equipment_id": "LAMP-2", "times": 1, "seconds": 4 * 3600},
        ]

    async def test_without_anything_has_no_lines(self, engine: AsyncEngine) -> None:
        assert set(map(len, (await maintenance_figures(engine, LONG_AGO, FOREVER)).values())) == {0}


def stands(
    name: str, calibration: CalibrationState, days_left: int, out_of_service: str | None = None
) -> tuple[EquipmentItem, Standing]:
    item = EquipmentItem(
        equipment_id=name,
        equipment_type="uv_lamp",
        description=name,
        node_id="N1",
        home_node="N1",
        out_of_service=out_of_service,
    )
    where = Standing(
        equipment_id=name,
        equipment_type="uv_lamp",
        state=EquipmentState.CURRENT,
        calibration=calibration,
        due_on=date(2026, 6, 1) + timedelta(days=days_left),
        days_left=days_left,
    )
    return item, where


class TestCompliance:
    def test_is_the_share_that_is_valid_of_those_in_service(self) -> None:
        found = compliance(
            [
                stands("A", CalibrationState.CURRENT, 90, out_of_service="dropped"),
                stands("B", CalibrationState.EXPIRING_SOON, 3),
                stands("C", CalibrationState.EXPIRED, -2),
                stands("D", CalibrationState.EXPIRED, -9),
                stands("E", CalibrationState.EXPIRED, -99, out_of_service="scrapped"),
            ]
        )
        assert found["calibration"] == [
            {
                "node_id": "N1",
                "equipment_type": "uv_lamp",
                "instruments": 5,
                "out_of_service": 2,
                "current": 1,
                "expiring_soon": 1,
                "expired": 3,
                "pending_calibration": 0,
                "compliance": pytest.approx(1 / 3),
            }
        ]
        assert [(one["equipment_id"], one["days_overdue"]) for one in found["overdue"]] == [("D", 9), ("C", 2)]

    def test_is_not_known_where_nothing_is_in_service(self) -> None:
        [group] = compliance([stands("A", CalibrationState.CURRENT, 90, out_of_service="dropped")])["calibration"]
        assert (group["instruments"], group["compliance"]) == (1, None)
