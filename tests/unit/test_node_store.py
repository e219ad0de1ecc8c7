"""A node's disk: what it took it has, once, and it gives the same receipt for it."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.node_store import NodeStore
from schemas.node import DeliveryConflict, NodeDelivery, NotHeld, PartReady
from schemas.test_results import Begun, KeptResults, Reading, TestResult, TestVerdict

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def delivery(name: str = "SC-1", number: int = 1, **fields: Any) -> NodeDelivery:
    values: dict[str, Any] = {
        "document": {"smart_contract_id": name, "weight": 1.5},
        "document_hash": "00",
        "priority": 3,
        "due_date": None,
        "quantity": 1,
        "broadcast_ids": ("B1",),
    }
    return NodeDelivery(smart_contract_id=name, number=number, **(values | fields))


def ready(name: str = "SC-1", **fields: Any) -> PartReady:
    values: dict[str, Any] = {
        "node_id": "NODE-1",
        "part_id": "PART-1",
        "part_number": None,
        "quantity": 1,
        "place": "NODE-0",
        "package_id": "PKG-SC-0-R1",
        "ready_at": NOW,
    }
    return PartReady(smart_contract_id=name, **(values | fields))


def kept(revision: int = 1, *, value: str = "1.0", name: str = "SC-1") -> KeptResults:
    reading = Reading(name="depth", value=value, unit="mm")
    return KeptResults(
        smart_contract_id=name,
        revision=revision,
        begun=Begun(performer="ivan", started_at=NOW, instruments=(), document_hash="00"),
        results=(TestResult(test_id="T-1", verdict=TestVerdict.ACCEPT, readings=(reading,), procedure_followed=True),),
        submitted_by="ivan",
        submitted_at=NOW,
    )


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], NodeStore]:
    return lambda: NodeStore("NODE-1", tmp_path / "nodes" / "node.sqlite")


class TestANode:
    def test_answers_with_the_hash_of_what_it_took(self, reopen: Callable[[], NodeStore]) -> None:
        receipt = reopen().take(delivery())
        assert (receipt.node_id, receipt.receipt_hash) == ("NODE-1", delivery().content_hash())

    def test_forgets_nothing_when_it_starts_again(self, reopen: Callable[[], NodeStore]) -> None:
        reopen().take(delivery())
        assert reopen().inbox() == [delivery()]

    def test_takes_the_same_delivery_once(self, reopen: Callable[[], NodeStore]) -> None:
        store = reopen()
        assert store.take(delivery()) == store.take(delivery())
        assert store.inbox() == [delivery()]

    def test_takes_the_same_delivery_once_though_it_comes_from_everywhere(
        self, reopen: Callable[[], NodeStore]
    ) -> None:
        store = reopen()
        with ThreadPoolExecutor(8) as pool:
            receipts = set(pool.map(lambda _: store.take(delivery()).receipt_hash, range(16)))
        assert len(receipts) == len(store.inbox()) == 1

    def test_replaces_a_delivery_by_a_newer_one(self, reopen: Callable[[], NodeStore]) -> None:
        store = reopen()
        store.take(delivery())
        store.take(delivery(number=2, priority=1))
        assert store.inbox() == [delivery(number=2, priority=1)]

    @pytest.mark.parametrize("number", [1, 2])
    def test_refuses_other_content_under_a_number_that_is_not_newer(
        self, reopen: Callable[[], NodeStore], number: int
    ) -> None:
        store = reopen()
        store.take(delivery(number=2))
        with pytest.raises(DeliveryConflict, match="already holds delivery 2 of SC-1"):
            store.take(delivery(number=number, priority=1))
        assert store.inbox() == [delivery(number=2)]

    def test_keeps_deliveries_of_other_pos(self, reopen: Callable[[], NodeStore]) -> None:
        store = reopen()
        store.take(delivery("SC-2"))
        store.take(delivery("SC-1"))
        assert [kept.smart_contract_id for kept in store.inbox()] == ["SC-1", "SC-2"]

    def test_is_on_the_disk_before_it_answers(self, reopen: Callable[[], NodeStore], tmp_path: Path) -> None:
        reopen().take(delivery())
        other = sqlite3.connect(f"file:{tmp_path}/nodes/node.sqlite?mode=ro", uri=True)
        assert other.execute("SELECT smart_contract_id FROM inbox").fetchall() == [("SC-1",)]
        other.close()

    def test_shows_the_newest_delivery_of_a_contract(self, reopen: Callable[[], NodeStore]) -> None:
        store = reopen()
        store.take(delivery())
        store.take(delivery(number=2, priority=1))
        assert store.delivery("SC-1") == delivery(number=2, priority=1)

    def test_says_that_it_does_not_hold_a_contract(self, reopen: Callable[[], NodeStore]) -> None:
        with pytest.raises(NotHeld, match="node NODE-1 does not hold the contract SC-1"):
            reopen().delivery("SC-1")

    def test_opens_a_disk_of_a_time_when_it_only_had_an_inbox(
        self, reopen: Callable[[], NodeStore], tmp_path: Path
    ) -> None:
        reopen().take(delivery())
        with sqlite3.connect(tmp_path / "nodes" / "node.sqlite") as database:
            for table in ("pickups", "results", "packages"):
                database.execute(f"DROP TABLE {table}")
        database.close()
        store = reopen()
        assert (store.inbox(), store.pickups(), store.results("SC-1")) == ([delivery()], [], [])


class TestPartsToFetch:
    def test_are_there_after_a_restart(self, reopen: Callable[[], NodeStore]) -> None:
        reopen().announce(ready("SC-2"))
        reopen().announce(ready("SC-1"))
        assert reopen().pickups() == [ready("SC-1"), ready("SC-2")]

    def test_are_announced_once(self, reopen: Callable[[], NodeStore]) -> None:
        store = reopen()
        store.announce(ready())
        store.announce(ready(place="elsewhere"))
        assert store.pickups() == [ready()]

    def test_are_announced_again_by_another_package(self, reopen: Callable[[], NodeStore]) -> None:
        store = reopen()
        store.announce(ready())
        store.announce(ready(package_id="PKG-SC-0-R2"))
        assert len(store.pickups()) == 2


class TestResultsAtANode:
    def test_are_there_after_a_restart_with_all_their_revisions(self, reopen: Callable[[], NodeStore]) -> None:
        reopen().keep_results(kept(2, value="2.0"))
        reopen().keep_results(kept(1))
        assert reopen().results("SC-1") == [kept(1), kept(2, value="2.0")]

    def test_are_kept_once(self, reopen: Callable[[], NodeStore]) -> None:
        store = reopen()
        store.keep_results(kept())
        store.keep_results(kept())
        assert store.results("SC-1") == [kept()]

    @pytest.mark.parametrize("value", ["1.1", "1.00"])
    def test_are_never_overwritten(self, reopen: Callable[[], NodeStore], value: str) -> None:
        store = reopen()
        store.keep_results(kept())
        with pytest.raises(DeliveryConflict, match="already keeps revision 1 of the results of SC-1"):
            store.keep_results(kept(value=value))
        assert [str(result.readings[0].value) for result in store.results("SC-1")[0].results] == ["1.0"]

    def test_keep_the_flags_of_the_first_time(self, reopen: Callable[[], NodeStore]) -> None:
        """Asked again on another day, the node would flag something else."""
        store, flagged = reopen(), kept().model_copy(update={"flags": ("LAMP-1 was due",)})
        assert store.keep_results(flagged) == store.keep_results(kept()) == flagged

    def test_are_written_as_ever_where_nothing_is_flagged(self) -> None:
        assert "flags" not in kept().model_dump(mode="json")

    def test_are_those_of_the_contract(self, reopen: Callable[[], NodeStore]) -> None:
        store = reopen()
        store.keep_results(kept(name="SC-2"))
        assert store.results("SC-1") == []
