"""What a PO looks up about itself."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.node import PartReady

if TYPE_CHECKING:
    from infra.client_po import ClientPOs


class ClientPOActivities:
    """Reads the rows of POs."""

    def __init__(self, client_pos: "ClientPOs") -> None:
        self._client_pos = client_pos

    @activity.defn
    async def is_routed(self, ready: PartReady) -> bool:
        """Whether a package really brought this contract, from where the part is said to lie."""
        return await self._client_pos.is_routed(ready.smart_contract_id, ready.package_id, ready.place)
