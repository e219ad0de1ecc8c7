"""Nodes that do not simply take what they are offered."""

import threading

from temporalio import activity

from schemas.node import NodeDelivery, NodeReceipt
from tests.workflows.shop import Shop, until


class SlowNode:
    """Begins to take a PO, and has taken it when it may."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._taking, self._may = threading.Event(), threading.Event()

    @activity.defn(name="take_client_po")
    def take(self, delivery: NodeDelivery) -> NodeReceipt:
        self._taking.set()
        self._may.wait(20)
        return self._shop.store.take(delivery)

    async def begins(self) -> None:
        await until(self._taking.is_set, lambda: "the node takes it")

    def finish(self) -> None:
        self._may.set()


def occupy_node(shop: Shop) -> None:
    """Something else lies there under the ID of the test's PO."""
    shop.store.take(
        NodeDelivery(
            smart_contract_id=f"A-{shop.name}",
            number=7,
            document={},
            document_hash="",
            priority=1,
            due_date=None,
            quantity=1,
            broadcast_ids=(),
        )
    )
