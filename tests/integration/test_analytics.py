"""The staging analytics of a ledger whose entries are known."""

from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.analytics import staging_analytics
from infra.ledger import Ledger
from schemas.ledger import LedgerEntry
from schemas.record import Record

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

STORY: list[tuple[str, str, dict[str, Any]]] = [
    ("stage_client_po", "released", {"target_node": "N1"}),
    ("receive_arrival", "PART-1", {"broadcast_id": "B1", "at_node": False}),
    ("confirm_arrival", "released", {"broadcast_ids": ["B1"]}),
    ("duplicate_broadcast", "PART-1", {"broadcast_id": "B1"}),
    ("release_failed", "released", {}),
    ("release_client_po", "released", {}),
    ("stage_client_po", "moved", {"target_node": "N2"}),
    ("receive_arrival", "PART-2", {"broadcast_id": "B2", "at_node": False}),
    ("confirm_arrival", "moved", {"broadcast_ids": ["B2"]}),
    ("track_arrival", "PART-2", {"broadcast_id": "B3", "at_node": False}),
    ("part_moved", "moved", {}),
    ("stage_client_po", "mistaken", {"target_node": "N2"}),
    ("receive_arrival", "PART-3", {"broadcast_id": "B4", "at_node": False}),
    ("confirm_arrival", "mistaken", {"broadcast_ids": ["B4"]}),
    ("withdraw_arrival", "PART-3", {"broadcast_id": "B4"}),
    ("withdraw_arrival", "mistaken", {}),
    ("receive_arrival", "PART-3", {"broadcast_id": "B5", "at_node": False}),
    ("confirm_arrival", "mistaken", {"broadcast_ids": ["B5"]}),
    ("stage_client_po", "cancelled", {"target_node": "N1"}),
    ("cancel_client_po", "cancelled", {}),
    ("receive_arrival", "PART-9", {"broadcast_id": "B6", "at_node": False}),
    ("receive_arrival", "PART-9", {"broadcast_id": "B7", "at_node": True}),
    ("refuse_arrival", "PART-9", {"broadcast_id": "B8"}),
    ("dead_letter", "gateway", {}),
]


@pytest_asyncio.fixture
async def analytics(engine: AsyncEngine) -> dict[str, Any]:
    async with Ledger(engine, recorder="test", smart_id="HUB") as ledger:
        for number, (action, target, metadata) in enumerate(STORY):
            entry = LedgerEntry(
                idempotency_key=str(number),
                action_type="handoff",
                action=action,
                target=target,
                details=action,
                metadata=metadata,
            )
            await ledger.record(Record(entry=entry))
    return await staging_analytics(engine, LONG_AGO)


class TestTheTotals:
    async def test_count_pos_by_how_far_they_came(self, analytics: dict[str, Any]) -> None:
        total = analytics["total"]
        found = {name: total[name] for name in ("staged", "queue_length", "confirmed", "released", "cancelled")}
        assert found == {"staged": 4, "queue_length": 2, "confirmed": 2, "released": 1, "cancelled": 1}
        assert total["release_failures"] == 1

    async def test_do_not_count_a_confirmation_that_was_taken_back(self, analytics: dict[str, Any]) -> None:
        assert analytics["total"]["confirmation_rate"] == pytest.approx(2 / 4)
        assert analytics["broadcasts"]["match_accuracy"] == pytest.approx(2 / 4)

    async def test_measure_the_wait_for_the_part_and_for_the_node(self, analytics: dict[str, Any]) -> None:
        total = analytics["total"]
        assert 0 < total["part_wait_p50"] <= total["part_wait_p95"] < 60
        assert 0 < total["release_p50"] == total["release_p95"] < 60


class TestTheBroadcasts:
    async def test_are_counted_by_what_became_of_them(self, analytics: dict[str, Any]) -> None:
        broadcasts = analytics["broadcasts"]
        del broadcasts["match_accuracy"]
        assert broadcasts == {
            "received": 6,
            "unmatched": 1,
            "duplicates": 1,
            "tracking": 1,
            "refused": 1,
            "malformed": 1,
        }


class TestTheDays:
    async def test_are_counted_by_node(self, analytics: dict[str, Any]) -> None:
        assert {(line["node"], line["staged"]) for line in analytics["by_node_and_day"]} == {("N1", 2), ("N2", 2)}
