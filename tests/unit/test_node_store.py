"""A node's disk: what it took it has, once, and it gives the same receipt for it."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra.node_store import NodeStore
from schemas.node import DeliveryConflict, NodeDelivery


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
