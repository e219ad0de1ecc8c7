"""What a node does, on its own task queue, over its own disk."""

from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.exceptions import ApplicationError

from schemas.gate import BeginTest, GateAnswer
from schemas.guardian import AUTHORIZATION_REFUSED, AuthorizationPackage, AuthorizationRequest, NotAuthorized
from schemas.node import DELIVERY_REFUSED, DeliveryConflict, NodeDelivery, NodeReceipt, NotHeld, PartReady
from schemas.test_results import KeptResults, ResultsKept

if TYPE_CHECKING:
    from infra.equipment import Gate
    from infra.guardian import Guardian
    from infra.node_store import NodeStore


class NodeActivities:
    """Activities of one node."""

    def __init__(self, store: "NodeStore", gate: "Gate", guardian: "Guardian") -> None:
        self._store = store
        self._gate = gate
        self._guardian = guardian

    @activity.defn
    def take_client_po(self, delivery: NodeDelivery) -> NodeReceipt:
        """Keeps a PO in the node's inbox and answers when it is on the disk.

        Fails for good when the node already has other content under that ID and number.
        """
        try:
            return self._store.take(delivery)
        except DeliveryConflict as conflict:
            raise ApplicationError(str(conflict), type=DELIVERY_REFUSED, non_retryable=True) from conflict

    @activity.defn
    def announce_part(self, ready: PartReady) -> None:
        """Tells the node of a part that it can fetch; the same again changes nothing."""
        self._store.announce(ready)

    @activity.defn
    def begin_test(self, begin: BeginTest) -> GateAnswer:
        """Passes the gate, or says everything that is missing. What is frozen is what the node holds now.

        It may have been asked days ago; that the node answers now is known from the server's clock too.
        Fails, to be tried again, until the node has heard of the register what the question says.
        """
        try:
            delivery = self._store.delivery(begin.smart_contract_id)
        except NotHeld as error:
            return GateAnswer(missing=(str(error),))
        now = max(begin.at, activity.info().started_time)
        return self._gate.begin(delivery, begin.model_copy(update={"at": now}))

    @activity.defn
    def keep_results(self, results: KeptResults) -> ResultsKept | None:
        """Keeps the node's own copy of a revision, with its flags; the same again changes nothing.

        Fails for good when the node already has other results under that revision. (None stands in histories of a time
        when a node flagged nothing.)
        """
        flags = self._gate.flags(results.begun, results.submitted_at)
        try:
            kept = self._store.keep_results(results.model_copy(update={"flags": flags}))
        except DeliveryConflict as conflict:
            raise ApplicationError(str(conflict), type=DELIVERY_REFUSED, non_retryable=True) from conflict
        return ResultsKept(flags=kept.flags)

    @activity.defn
    def authorize(self, request: AuthorizationRequest) -> AuthorizationPackage:
        """Signs the package of a revision, once. Fails for good where anything is missing or does not agree."""
        try:
            return self._guardian.authorize(request)
        except NotAuthorized as refused:
            raise ApplicationError(str(refused), type=AUTHORIZATION_REFUSED, non_retryable=True) from refused
