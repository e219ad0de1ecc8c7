"""The Gatekeeper (specification 2): nothing is moved by a package that is forged, altered, incomplete or replayed."""

import asyncio

from infra.client_po import ClientPOs, released_contract
from infra.guardian import TrustList
from infra.settings import Settings
from infra.transfer import Transfers
from schemas.client_po import ClientPOStatus
from schemas.guardian import AuthorizationPackage, incomplete
from schemas.transfer import Admission, Destination, LegPolicy


class Gatekeeper:
    """Compares a package with the trust list, with the contract that was released, and with its own row."""

    def __init__(self, trust: TrustList, client_pos: ClientPOs, transfers: Transfers, settings: Settings) -> None:
        self._trust = trust
        self._client_pos = client_pos
        self._transfers = transfers
        policy = LegPolicy(
            retries=settings.transfer_retries,
            first_pause=settings.transfer_first_pause.total_seconds(),
            patience=settings.transfer_timeout.total_seconds(),
        )
        self._policies = dict.fromkeys(Destination, policy)

    async def refusal(self, package: AuthorizationPackage) -> str | None:
        """Why a package authorizes nothing, whether or not there is a row of it yet; None where it does."""
        if refusal := await asyncio.to_thread(self._trust.refusal, package):
            return refusal
        row = await self._client_pos.get(package.test_data.smart_contract_id)
        if row is None:
            return f"{package.test_data.smart_contract_id} is not staged here"
        if row["status"] != ClientPOStatus.RELEASED:
            return f"{package.test_data.smart_contract_id} is {row['status']}, not released to a node"
        po = released_contract(row)
        return incomplete(po, row["document_hash"], package) or await self._unknown_predecessor(package)

    async def admit(self, package: AuthorizationPackage) -> Admission:
        """Whether this package may move anything: it must also be exactly the one that was recorded."""
        refusal = await self.refusal(package) or await self._not_as_recorded(package)
        return Admission(refusal=refusal) if refusal else Admission(policies=self._policies)

    async def _unknown_predecessor(self, package: AuthorizationPackage) -> str | None:
        """An amendment replaces an earlier package of its contract that is known here."""
        data = package.test_data
        if data.replaces is None:
            return None
        row = await self._transfers.get(data.replaces)
        if row is not None and row["smart_contract_id"] == data.smart_contract_id and row["revision"] < data.revision:
            return None
        return f"it replaces {data.replaces}, which is no earlier package of {data.smart_contract_id} here"

    async def _not_as_recorded(self, package: AuthorizationPackage) -> str | None:
        row = await self._transfers.get(package.package_id)
        if row is None:
            return f"no authorization of {package.package_id} is recorded"
        if row["content_hash"] != package.content_hash:
            return f"{package.package_id} was recorded with other content"
        return None
