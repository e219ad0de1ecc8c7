"""What a transfer does outside: checking the authorization, preparing what is sent, and sending it."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.guardian import AuthorizationPackage
from schemas.transfer import Admission, Delivery, Preparation, Prepare, Sending

if TYPE_CHECKING:
    from infra.dispatch import Dispatcher
    from infra.gatekeeper import Gatekeeper
    from infra.hubs import Hubs


class TransferActivities:
    """The Gatekeeper, and the hubs at the other ends of the legs."""

    def __init__(self, gatekeeper: "Gatekeeper", dispatcher: "Dispatcher", hubs: "Hubs") -> None:
        self._gatekeeper = gatekeeper
        self._dispatcher = dispatcher
        self._hubs = hubs

    @activity.defn
    async def admit(self, package: AuthorizationPackage) -> Admission:
        """Whether this package may move anything."""
        return await self._gatekeeper.admit(package)

    @activity.defn
    async def prepare(self, prepare: Prepare) -> Preparation:
        """What one leg sends. It is asked once for each leg, or again when a person retries."""
        return await self._dispatcher.prepare(prepare)

    @activity.defn
    async def send(self, sending: Sending) -> Delivery:
        """One attempt; what goes wrong is its answer, not its failure."""
        return await self._hubs.send(sending)
