"""Which contract may follow which (specification 2, "Contract Chaining"); asked before a transfer and at its end."""

from typing import Any

from pydantic import ValidationError

from schemas.base import Model
from schemas.client_po import TERMINAL, ClientPOStatus, SmartClientPO
from schemas.guardian import AuthorizationPackage
from schemas.routing import Routing, document_name, read_routing_trigger


class Known(Model):
    """What the rows say of a contract that is staged, or was; `routed_from` is the package that brought it."""

    document_hash: str
    status: ClientPOStatus
    routed_from: str | None


def routing_of(package: AuthorizationPackage) -> Routing | str:
    """Where a package goes on to, or why that cannot be said."""
    contract = package.test_data.smart_contract_id
    try:
        routing = read_routing_trigger(package.test_data.routing_trigger)
    except ValidationError:
        return f"the routing trigger of {contract} cannot be read"
    return routing if routing.next_contract else f"{contract} is the last of its chain: nothing follows it"


def disagreement(package: AuthorizationPackage, routing: Routing, po: SmartClientPO) -> str | None:
    """Why this contract does not follow the one of the package; None where it does."""
    done, name = package.test_data, po.smart_contract_id
    if name not in (routing.next_contract, document_name(routing.next_contract or "")):
        return f"{name} is not {routing.next_contract}, which {done.smart_contract_id} names"
    if name == done.smart_contract_id:
        return f"{name} names itself as the contract to come"
    if po.clientpo_id != package.clientpo_id:
        return f"{name} belongs to client order {po.clientpo_id}, not to {package.clientpo_id}"
    if not _same_part(package, po):
        return f"{name} is for part {po.part}, not for {done.part_id or done.part_number}"
    if po.target_node != routing.next_station:
        return f"{name} is tested at {po.target_node}, not at {routing.next_station}, which the trigger names"
    if po.sequence_number <= done.sequence_number:
        return (
            f"{name} has sequence number {po.sequence_number}: it does not come after {done.smart_contract_id}, "
            f"which has {done.sequence_number}"
        )
    return None


def _same_part(package: AuthorizationPackage, po: SmartClientPO) -> bool:
    """One part by its `part_id`, else by the `part_number`; a number that both contracts name is one as well."""
    done = package.test_data
    numbers = {done.part_number, po.part_number}
    if done.part_id or po.part_id:
        return done.part_id == po.part_id and len(numbers - {None}) < 2
    return len(numbers) == 1


def run_before(package_id: str, po: SmartClientPO, document_hash: str, known: Known | None) -> str | None:
    """Why a contract that was staged before cannot be the one that this package brings; None where it can."""
    name = po.smart_contract_id
    if known is None:
        return None
    if known.document_hash != document_hash:
        return f"{name} is staged with another document"
    if known.routed_from == package_id:
        return None
    if known.routed_from is not None:
        return f"{name} was brought by {known.routed_from} already: the chain returns to a contract that it has run"
    if known.status in TERMINAL:
        return f"{name} is {known.status} already: the chain returns to a contract that it has run"
    return None


def known_of(row: dict[str, Any] | None) -> Known | None:
    """From the row of a SmartClientPO."""
    return None if row is None else Known(**{field: row[field] for field in Known.model_fields})
