"""The Floor Hub's end of a transfer: stages the next contract of a chain, and has its node told of the part."""

from typing import Any

from infra.client_po import ClientPOs
from infra.reception import Parcel, Reception
from infra.staging import OtherDocument, Staging
from schemas.base import excerpt
from schemas.canonical import document_hash
from schemas.chain import disagreement, known_of, routing_of, run_before
from schemas.changes.client_po import ClientPOChanged
from schemas.client_po import TERMINAL, SmartClientPO
from schemas.guardian import AuthorizationPackage
from schemas.node import PartReady
from schemas.test_results import TestVerdict
from schemas.transfer import Destination, Disposition
from schemas.transfer_package import HubReceipt, NextNodePackage, RouteToNode


class FloorHub:
    """The same package again gives the same receipt, and tells whoever was not told."""

    def __init__(self, reception: Reception, client_pos: ClientPOs, staging: Staging) -> None:
        self._reception = reception
        self._client_pos = client_pos
        self._staging = staging

    async def receive(self, document: dict[str, Any], sender: str) -> HubReceipt:
        """Raises `ValidationError`, `NotCanonical`, `NotTaken`, `OtherContent`, `NotStarted` (then send it again)."""
        route, hash_ = RouteToNode.model_validate(document), document_hash(document)
        package = route.package
        po = SmartClientPO.model_validate(package.next_contract)
        parcel = Parcel(Destination.NEXT_NODE, package.package_id, hash_, sender)
        receipt = await self._reception.receipt(parcel)
        if receipt is None:
            if reason := await self._refusal(route, po):
                raise await self._reception.refuse(parcel, reason)
            receipt = await self._take(parcel, package, po)
        row = await self._client_pos.get(po.smart_contract_id)
        if row is not None and row["status"] not in TERMINAL:
            await self._staging.start(row, _part_ready(package, po))
        return receipt

    async def _take(self, parcel: Parcel, package: NextNodePackage, po: SmartClientPO) -> HubReceipt:
        name = po.smart_contract_id
        known = known_of(await self._client_pos.get(name))
        hash_ = document_hash(package.next_contract)
        if reason := run_before(parcel.package_id, po, hash_, known):
            raise await self._reception.conflict(parcel, reason)
        try:
            await self._staging.record(package.next_contract, parcel.sender, routed_from=parcel.package_id)
        except OtherDocument as error:  # a moment ago
            raise await self._reception.conflict(parcel, str(error)) from error
        done = package.previous_test_summary.smart_contract_id
        return await self._reception.take(
            parcel,
            "route_to_node",
            name,
            f"Routed to {po.target_node} after {done}: part {po.part} is ready at {package.part_tracking.place}",
            {"previous_contract": done, "target_node": po.target_node, "document_hash": hash_},
            ClientPOChanged(smart_contract_id=name, routed_from=parcel.package_id),
        )

    async def _refusal(self, route: RouteToNode, po: SmartClientPO) -> str | None:
        """Why nothing moves: it is not authorized, or not what was authorized."""
        package = route.package
        row = await self._reception.authorized(package.package_id)
        if row is None:
            return "no authorized transfer has this package ID"
        if row["verdict"] != TestVerdict.ACCEPT and row["disposition"] != Disposition.USE_AS_IS:
            return f"its results are {row['verdict']}, and nobody decided to use the part as it is"
        authorization = AuthorizationPackage.model_validate_json(row["package"])
        routing = routing_of(authorization)
        if isinstance(routing, str):
            return routing
        return disagreement(authorization, routing, po) or _alteration(route, authorization, po)


def _alteration(route: RouteToNode, authorization: AuthorizationPackage, po: SmartClientPO) -> str | None:
    """What is said beside the contract must be what was authorized, because the node is told so."""
    package, done = route.package, authorization.test_data
    tracking, metadata = package.part_tracking, package.contract_metadata
    same = {
        "target_node": ({route.target_node, package.target_node}, {po.target_node}),
        "source_node": (package.source_node, done.node_id),
        "clientpo_id": (package.clientpo_id, authorization.clientpo_id),
        "part": (
            (tracking.part_id, tracking.part_number, tracking.quantity),
            (done.part_id, done.part_number, done.quantity),
        ),
        "previous_test": (
            {tracking.previous_test, package.previous_test_summary.test_id},
            {authorization.test_id},
        ),
        "previous contract": (package.previous_test_summary.smart_contract_id, done.smart_contract_id),
        "next_contract_hash": (package.next_contract_hash, document_hash(package.next_contract)),
        "contract_metadata": (
            (metadata.contract_id, metadata.sequence_number),
            (po.smart_contract_id, po.sequence_number),
        ),
    }
    wrong = [name for name, (said, authorized) in same.items() if said != authorized]
    return f"{', '.join(wrong)} not as authorized" if wrong else None


def _part_ready(package: NextNodePackage, po: SmartClientPO) -> PartReady:
    tracking = package.part_tracking
    return PartReady(
        smart_contract_id=po.smart_contract_id,
        node_id=po.target_node,
        part_id=tracking.part_id,
        part_number=tracking.part_number,
        quantity=tracking.quantity,
        place=excerpt(tracking.place),
        package_id=package.package_id,
        ready_at=package.dispatch_timestamp,
    )
