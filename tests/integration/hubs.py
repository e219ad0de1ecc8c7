"""The hubs as a transfer meets them: over HTTP, with packages that a trusted Guardian signed."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
from fastapi import FastAPI

from infra.contract_store import ContractStore
from infra.dispatch import Dispatcher
from infra.registry import load_registry
from infra.settings import Settings
from schemas import names
from schemas.changes.transfer import TransferChanged
from schemas.guardian import AuthorizationPackage
from schemas.ledger import LedgerEntry, RecordedEntry
from schemas.record import Record
from schemas.transfer import Destination, Preparation, Prepare, opened
from tests.packages import CP, Guardians, Json, contract, leads_to

if TYPE_CHECKING:
    from api.house import House


class Hubs:
    """One shop: `sender` is a transfer's, `quality` the quality manager."""

    def __init__(self, app: FastAPI, settings: Settings, sender: httpx.AsyncClient, quality: httpx.AsyncClient) -> None:
        self.house: House = app.state.house
        self.sender = sender
        self.quality = quality
        self.guardians = Guardians(settings.guardian_trust_dir)
        self.contracts = ContractStore(settings.contracts_dir)
        self.dispatcher = Dispatcher(
            self.contracts, self.house.client_pos, self.house.ledger, load_registry(settings.nodes_file)
        )
        self.name = uuid4().hex[:8]
        self.first = self.contract("LP", **leads_to(f"CP-{self.name}", CP))
        self.second = self.contract("CP", CP, sequence_number=2)

    def contract(self, kind: str, *arguments: Any, **fields: Any) -> Json:
        """Of this test's own client order and part."""
        own = {"clientpo_id": f"CPO-{self.name}", "part_id": f"PART-{self.name}"}
        return contract(f"{kind}-{self.name}", *arguments, **{**own, **fields})

    def package(self, document: Json | None = None, **fields: Any) -> AuthorizationPackage:
        return self.guardians.package(document or self.first, **fields)

    async def stage(self, document: Json) -> Json:
        """By the Business Hub."""
        answer = await self.sender.post("/api/v1/client-pos", json=document)
        assert answer.is_success, answer.text
        return dict(answer.json())

    async def open_transfer(self, package: AuthorizationPackage, **changes: Any) -> None:
        """As the node and the Gatekeeper have let it in."""
        entry = LedgerEntry(
            idempotency_key=f"{package.package_id}:authorize",
            action_type="guardian",
            action="authorize_package",
            target=package.package_id,
            details="authorized",
        )
        changed = [TransferChanged(package_id=package.package_id, **changes)] if changes else []
        await self.house.ledger.record(Record(entry=entry, changes=(opened(package), *changed)))

    async def prepare(self, package: AuthorizationPackage, destination: Destination) -> Preparation:
        return await self.dispatcher.prepare(Prepare(destination=destination, package=package))

    async def body(self, package: AuthorizationPackage, destination: Destination = Destination.VAULT) -> Json:
        """What a leg sends."""
        prepared = await self.prepare(package, destination)
        assert prepared.body is not None, prepared.refusal
        return prepared.body

    async def send(self, body: Json) -> httpx.Response:
        """To the vault."""
        return await self.sender.post("/vault-hub/receive-test-results", json=body)

    async def route(self, body: Json) -> httpx.Response:
        return await self.sender.post("/floor-hub/route-to-node", json=body)

    async def complete(self, body: Json) -> httpx.Response:
        return await self.sender.post("/business-hub/order-complete", json=body)

    async def store(self, package: AuthorizationPackage) -> Json:
        """Its receipt."""
        answer = await self.send(await self.body(package))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def entries(self, action: str) -> list[RecordedEntry]:
        return await self.house.ledger.entries(action=action)

    async def alerts(self) -> list[str]:
        answer = await self.quality.get("/api/v1/alerts", params={"type": "authorization_refused"})
        return [alert["text"] for alert in answer.json()["alerts"]]

    async def workflow_signals(self, document: Json) -> list[str]:
        """What its workflow was told."""
        handle = self.house.temporal.get_workflow_handle(names.client_po_id(document["smart_contract_id"]))
        history = await handle.fetch_history()
        return [
            event.workflow_execution_signaled_event_attributes.signal_name
            for event in history.events
            if event.HasField("workflow_execution_signaled_event_attributes")
        ]
