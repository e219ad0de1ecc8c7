"""The Business Hub's end of a transfer: is told once that a client order is complete."""

from typing import Any

from infra.reception import Parcel, Reception
from schemas.canonical import document_hash
from schemas.chain import routing_of
from schemas.changes.transfer import OrderCompleted
from schemas.guardian import AuthorizationPackage
from schemas.routing import Routing
from schemas.test_results import TestVerdict
from schemas.transfer import Destination, Disposition
from schemas.transfer_package import HubReceipt, OrderComplete


class BusinessHub:
    """The same notification again gives the same receipt."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    async def receive(self, document: dict[str, Any], sender: str) -> HubReceipt:
        """Raises `ValidationError`, `NotCanonical`, `NotTaken` and `OtherContent`."""
        told, hash_ = OrderComplete.model_validate(document), document_hash(document)
        parcel = Parcel(Destination.BUSINESS_HUB, told.package_id, hash_, sender)
        if receipt := await self._reception.receipt(parcel):
            return receipt
        if reason := await self._refusal(told):
            raise await self._reception.refuse(parcel, reason)
        return await self._reception.take(
            parcel,
            "complete_order",
            told.clientpo_id,
            f"Client order {told.clientpo_id} is complete with {told.smart_contract_id}: {told.verdict}",
            {"smart_contract_id": told.smart_contract_id, "verdict": told.verdict},
            OrderCompleted(
                package_id=told.package_id,
                clientpo_id=told.clientpo_id,
                smart_contract_id=told.smart_contract_id,
                verdict=told.verdict,
                content_hash=hash_,
            ),
        )

    async def _refusal(self, told: OrderComplete) -> str | None:
        row = await self._reception.authorized(told.package_id)
        if row is None:
            return "no authorized transfer has this package ID"
        for field in ("clientpo_id", "smart_contract_id", "verdict"):
            if row[field] != getattr(told, field):
                return f"{field} is {row[field]}, not {getattr(told, field)}"
        if row["verdict"] != TestVerdict.ACCEPT and row["disposition"] in (None, Disposition.REWORK):
            return f"its results are {row['verdict']}, and their disposition ends nothing: {row['disposition']}"
        routing = routing_of(AuthorizationPackage.model_validate_json(row["package"]))
        if isinstance(routing, Routing):
            return f"{told.smart_contract_id} is not the last of its chain: {routing.next_contract} follows it"
        return None
