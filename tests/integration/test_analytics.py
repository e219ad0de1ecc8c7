"""The analytics of a ledger, and of rows, whose entries are known."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.analytics import staging_analytics, transfer_analytics
from infra.ledger import Ledger
from schemas.ledger import LedgerEntry
from schemas.record import Record
from tests.integration.chain import AUTHORIZED, SIGNED, Chain

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


@pytest_asyncio.fixture
async def transfers(engine: AsyncEngine) -> dict[str, Any]:
    """Five packages: at once; by a retry; by an operator; one that waits for a person; one that tries."""
    async with Ledger(engine, recorder="test", smart_id="HUB") as ledger:
        chain = Chain(ledger)
        at_once, retried, operated, waiting, trying = [
            await chain.authorized(name, "N1") for name in ("AT-ONCE", "RETRIED", "OPERATED", "WAITING", "TRYING")
        ]
        for package in (at_once, retried, operated, waiting, trying):
            await chain.moved(package, received_now=True, business_hub_status="not_applicable")
        await chain.attempted(at_once, "next_node", success=True, status="complete", attempts=1)
        await chain.moved(at_once, next_node_now=True)
        for package in (retried, operated, trying):
            await chain.moved(package, next_node_status="not_applicable")
        await chain.missing(waiting, "SC-NOWHERE")
        for package in (retried, operated, waiting, trying):
            await chain.attempted(package, "vault", success=False, status="failed", attempts=1)
        for package in (operated, waiting):
            await chain.attempted(package, "vault", success=False, status="failed", attempts=2)
            await chain.escalated(package, "vault")
        for package, attempts in ((at_once, 1), (retried, 2), (operated, 3)):
            await chain.attempted(package, "vault", success=True, status="complete", attempts=attempts)
            await chain.moved(package, status="fully_complete", vault_now=True)
        for package, disposition in ((retried, "scrap"), (operated, "rework"), (waiting, None)):
            await chain.not_accepted(package, package)
            if disposition:
                await chain.disposed(package, disposition)
        for number in range(3):
            await chain.record("refuse_authorization", f"PKG-FORGED-{number}")
    return await transfer_analytics(engine, LONG_AGO)


def destination(transfers: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [row for row in transfers["destinations"] if row["destination"] == name]
    return dict(found)


class TestTheAuthorizations:
    async def test_count_what_was_received_and_what_was_refused(self, transfers: dict[str, Any]) -> None:
        found = transfers["authorizations"]
        counts = {name: found[name] for name in ("authorized", "received", "refused", "fully_complete")}
        assert counts == {"authorized": 5, "received": 5, "refused": 3, "fully_complete": 3}
        assert found["success_rate"] == pytest.approx(5 / 8)

    async def test_measure_the_guardian_and_the_gatekeeper(self, transfers: dict[str, Any]) -> None:
        found = transfers["authorizations"]
        seconds = (AUTHORIZED - SIGNED).total_seconds()
        assert found["authorization_p50"] == found["authorization_p95"] == pytest.approx(seconds)
        assert found["validation_p50"] <= found["validation_p95"]


class TestTheLegs:
    async def test_are_counted_by_destination(self, transfers: dict[str, Any]) -> None:
        vault, next_node = destination(transfers, "vault"), destination(transfers, "next_node")
        assert (vault["legs"], vault["complete"], vault["completion_rate"]) == (5, 3, pytest.approx(3 / 5))
        assert (next_node["legs"], next_node["complete"], next_node["completion_rate"]) == (2, 1, pytest.approx(1 / 2))

    async def test_count_every_attempt_and_every_failed_one(self, transfers: dict[str, Any]) -> None:
        vault = destination(transfers, "vault")
        assert (vault["attempts"], vault["failed_attempts"]) == (1 + 2 + 3 + 2 + 1, 6)

    async def test_tell_what_retries_cured_from_what_a_person_did(self, transfers: dict[str, Any]) -> None:
        vault = destination(transfers, "vault")
        names = ("troubled", "cured_by_retries", "cured_by_operator", "waiting")
        assert {name: vault[name] for name in names} == {
            "troubled": 4,
            "cured_by_retries": 1,
            "cured_by_operator": 1,
            "waiting": 1,
        }
        assert vault["retry_effectiveness"] == pytest.approx(1 / 3)

    async def test_count_a_missing_contract_as_a_call_for_a_person(self, transfers: dict[str, Any]) -> None:
        next_node = destination(transfers, "next_node")
        assert (next_node["troubled"], next_node["waiting"], next_node["retry_effectiveness"]) == (1, 1, 0)

    async def test_measure_the_time_to_the_receipt(self, transfers: dict[str, Any]) -> None:
        vault = destination(transfers, "vault")
        assert 0 < vault["receipt_p50"] <= vault["receipt_p95"] < 60

    async def test_give_no_figure_where_there_is_nothing_to_count(self, transfers: dict[str, Any]) -> None:
        hub = destination(transfers, "business_hub")
        assert (hub["legs"], hub["troubled"], hub["attempts"]) == (0, 0, 0)
        assert [hub[name] for name in ("completion_rate", "receipt_p50", "retry_effectiveness")] == [None] * 3


class TestTheNonconformances:
    async def test_are_counted_by_their_disposition(self, transfers: dict[str, Any]) -> None:
        found = transfers["nonconformances"]
        assert found.pop("decision_p50") > 0
        assert found == {"open": 1, "decided": 2, "use_as_is": 0, "rework": 1, "scrap": 1, "return_to_client": 0}


class TestAnEmptyPeriod:
    async def test_has_no_figures(self, transfers: dict[str, Any], engine: AsyncEngine) -> None:
        found = await transfer_analytics(engine, datetime.now(UTC) + timedelta(days=1))
        assert found["authorizations"]["authorized"] == found["nonconformances"]["open"] == 0
        assert found["authorizations"]["success_rate"] is None
        assert found["nonconformances"]["decision_p50"] is None
        assert {row["legs"] for row in found["destinations"]} == {0}
