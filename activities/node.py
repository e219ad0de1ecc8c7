"""What a node does, on its own task queue, over its own disk."""

from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.exceptions import ApplicationError

from schemas.node import DELIVERY_REFUSED, DeliveryConflict, NodeDelivery, NodeReceipt

if TYPE_CHECKING:
    from infra.node_store import NodeStore


class NodeActivities:
    """Activities of one node."""

    def __init__(self, store: "NodeStore") -> None:
        self._store = store

    @activity.defn
    def take_client_po(self, delivery: NodeDelivery) -> NodeReceipt:
        """Keeps a PO in the node's inbox and answers when it is on the disk.

        Fails for good when the node already has other content under that ID and number.
        """
        try:
            return self._store.take(delivery)
        except DeliveryConflict as conflict:
            raise ApplicationError(str(conflict), type=DELIVERY_REFUSED, non_retryable=True) from conflict
