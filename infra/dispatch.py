"""What the legs of a transfer send (specification 2: `prepare_vault_transfer`, `prepare_next_node_transfer`)."""

import asyncio
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from infra.client_po import ClientPOs
from infra.contract_store import ContractStore
from infra.documents import NotReadable
from infra.ledger import Ledger
from infra.registry import Registry
from schemas.base import excerpt
from schemas.canonical import NotCanonical, document_hash
from schemas.chain import disagreement, known_of, routing_of, run_before
from schemas.client_po import SmartClientPO
from schemas.faults import faults
from schemas.guardian import AuthorizationPackage
from schemas.ledger import RecordedEntry
from schemas.routing import Routing, document_name
from schemas.transfer import Destination, Preparation, Prepare
from schemas.transfer_package import (
    AuditChain,
    CitedEntry,
    ContractMetadata,
    NextNodePackage,
    OrderComplete,
    PartTracking,
    PreviousTest,
    RouteToNode,
    VaultPackage,
    WorkflowState,
    compliance_of,
)


class Dispatcher:
    """Reads the contract store, the rows and the ledger; changes nothing.

    What a leg sends follows from what is recorded, never from when it is prepared: a receiver that has stored it
    before knows it again, though nobody remembers that it was sent.
    """

    def __init__(self, contracts: ContractStore, client_pos: ClientPOs, ledger: Ledger, registry: Registry) -> None:
        self._contracts = contracts
        self._client_pos = client_pos
        self._ledger = ledger
        self._registry = registry

    async def prepare(self, prepare: Prepare) -> Preparation:
        """The body of one leg, or why there is none, in words for the person who mends it."""
        package = prepare.package
        begun = await self._begun(package.package_id, prepare.destination)
        at = package.authorized_at if begun is None else begun.recorded_at
        match prepare.destination:
            case Destination.VAULT:
                return await self._vault(package, at, begun)
            case Destination.NEXT_NODE:
                return await self._next_node(package, at)
            case Destination.BUSINESS_HUB:
                return _order_complete(package, at)

    async def _begun(self, package_id: str, destination: Destination) -> RecordedEntry | None:
        """The entry from which on this leg could begin; None where the transfer is not in the ledger."""
        if destination is Destination.VAULT:
            return await self._ledger.under(f"{package_id}:read_routing")
        before = {
            Destination.NEXT_NODE: {"receive_authorization", "dispose_nonconformance"},
            Destination.BUSINESS_HUB: {"receive_authorization", "dispose_nonconformance", "transfer_to_vault"},
        }[destination]
        entries = [entry for entry in await self._ledger.timeline(package_id) if entry.action in before]
        return entries[-1] if entries else None

    async def _vault(self, package: AuthorizationPackage, at: datetime, begun: RecordedEntry | None) -> Preparation:
        routing = routing_of(package)
        body = VaultPackage(
            package_id=package.package_id,
            source_node=package.test_data.node_id,
            authorization=package,
            completion_timestamp=package.test_data.completion_timestamp,
            compliance_metadata=compliance_of(package),
            audit_chain=AuditChain(
                local_backup_path=package.local_backup_path,
                guardian_node=package.guardian_signature.node_id,
                transfer_timestamp=at,
                entries=await self._cited(begun, package.test_data.smart_contract_id, package.package_id),
            ),
            workflow_status=WorkflowState(
                is_final_contract=not isinstance(routing, Routing), has_next_step=isinstance(routing, Routing)
            ),
        )
        return Preparation(body=body.model_dump(mode="json"))

    async def _cited(self, until: RecordedEntry | None, *targets: str) -> tuple[CitedEntry, ...]:
        """Counts of parts are left out: an order of thousands has thousands, and its confirmation names what counts."""
        return tuple(
            CitedEntry(seq=entry.seq, leaf=entry.leaf, action=entry.action)
            for entry in await self._ledger.timeline(*targets)
            if entry.action != "count_arrivals" and (until is None or entry.seq <= until.seq)
        )

    async def _next_node(self, package: AuthorizationPackage, at: datetime) -> Preparation:
        routing = routing_of(package)
        if isinstance(routing, str):
            return Preparation(refusal=routing)
        name = routing.next_contract or ""
        try:
            document = await asyncio.to_thread(self._contracts.read, name)
            if document is None:
                return _missing(name)
            hash_ = document_hash(document)
            po = SmartClientPO.model_validate(document, context={"nodes": self._registry})
        except NotReadable as error:
            return Preparation(refusal=excerpt(str(error)))
        except NotCanonical as error:
            return Preparation(refusal=f"{name} in the contract store: {error}")
        except ValidationError as error:
            return Preparation(refusal=excerpt(f"{name} in the contract store: {'; '.join(map(str, faults(error)))}"))
        known = known_of(await self._client_pos.get(po.smart_contract_id))
        refusal = disagreement(package, routing, po) or run_before(package.package_id, po, hash_, known)
        if refusal is not None:
            return Preparation(refusal=refusal)
        return Preparation(body=_route(package, at, po, document, hash_).model_dump(mode="json"))


def _missing(name: str) -> Preparation:
    contract = document_name(name)
    return Preparation(
        missing=True,
        refusal=f"{contract} is not in the contract store: PUT /api/v1/contracts/{contract}, then retry the transfer",
    )


def _route(
    package: AuthorizationPackage, at: datetime, po: SmartClientPO, document: dict[str, Any], hash_: str
) -> RouteToNode:
    done = package.test_data
    return RouteToNode(
        target_node=po.target_node,
        package=NextNodePackage(
            package_id=package.package_id,
            source_node=done.node_id,
            target_node=po.target_node,
            clientpo_id=package.clientpo_id,
            part_tracking=PartTracking(
                part_id=done.part_id,
                part_number=done.part_number,
                quantity=done.quantity,
                previous_test=package.test_id,
                place=done.node_id,
            ),
            next_contract=document,
            next_contract_hash=hash_,
            contract_metadata=ContractMetadata(
                contract_id=po.smart_contract_id,
                contract_type=po.contract_type,
                test_type=po.tests[0].test_type,
                sequence_number=po.sequence_number,
            ),
            previous_test_summary=PreviousTest(
                smart_contract_id=done.smart_contract_id,
                test_id=package.test_id,
                completion_timestamp=done.completion_timestamp,
            ),
            dispatch_timestamp=at,
        ),
    )


def _order_complete(package: AuthorizationPackage, at: datetime) -> Preparation:
    body = OrderComplete(
        package_id=package.package_id,
        clientpo_id=package.clientpo_id,
        smart_contract_id=package.test_data.smart_contract_id,
        verdict=package.test_data.verdict,
        completed_at=at,
    )
    return Preparation(body=body.model_dump(mode="json"))
