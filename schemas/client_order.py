"""A client order as people look at it: its chain of contracts, where it is stuck, and who can move it.

(Specification 2, "SmartClientPO Chaining Workflow".) Nothing here is stored: what a contract waits for follows from the
states of its PO, its test and its transfers, and what the order waits for from its contracts.
"""

from collections.abc import Iterable
from enum import StrEnum

from schemas.base import Model, UtcDateTime
from schemas.client_po import ClientPOStatus
from schemas.outlook import Outlook
from schemas.routing import RoutingTrigger, document_name
from schemas.test_execution import TestStatus, outlook
from schemas.test_results import TestVerdict
from schemas.transfer import DONE, LEG_NAMES, Destination, Disposition, LegStatus, PackageStatus, leg_outlook


class Standing(StrEnum):
    """What is `stuck` goes on only when a person takes an exception in hand; `ended` will never be complete."""

    STUCK = "stuck"
    UNDER_WAY = "under_way"
    TO_COME = "to_come"
    ENDED = "ended"
    COMPLETE = "complete"


class Stand(Outlook):
    """Where something stands, what it waits for, and who can move it on."""

    standing: Standing


class Test(Model):
    """The test of a contract; `missing` and `open_signoffs` are sentences for people."""

    __test__ = False

    status: TestStatus
    performer: str | None
    revision: int
    missing: str | None
    open_signoffs: str | None
    hold_reason: str | None
    rework_reason: str | None
    package_id: str | None


class Leg(Model):
    """One leg of a transfer; `received_at` is when its receipt was recorded."""

    destination: Destination
    status: LegStatus
    attempts: int
    error: str | None
    received_at: UtcDateTime | None


class Transfer(Model):
    """The transfer of one revision of a contract's results; `vault_entry`: the ledger's number of its vault record."""

    package_id: str
    revision: int
    status: PackageStatus
    verdict: TestVerdict
    nonconformance: int | None
    disposition: Disposition | None
    vault_entry: int | None
    legs: tuple[Leg, ...]


class Times(Model):
    """When a contract came how far; those of its transfer are of the last revision."""

    staged: UtcDateTime
    arrived: UtcDateTime | None = None
    released: UtcDateTime | None = None
    started: UtcDateTime | None = None
    submitted: UtcDateTime | None = None
    signed: UtcDateTime | None = None
    authorized: UtcDateTime | None = None
    vault: UtcDateTime | None = None
    next_node: UtcDateTime | None = None
    ended: UtcDateTime | None = None


class Contract(Model):
    """A staged contract of the chain. `outlook` is its PO's; transfers stand in the order of their revisions."""

    smart_contract_id: str
    sequence_number: int
    node: str
    routed_from: str | None
    po_status: ClientPOStatus
    release_error: str | None
    outlook: Outlook
    routing_trigger: RoutingTrigger
    test: Test | None
    transfers: tuple[Transfer, ...]
    times: Times

    @property
    def verdict(self) -> TestVerdict | None:
        """Of the last revision that was authorized."""
        return self.transfers[-1].verdict if self.transfers else None

    @property
    def disposition(self) -> Disposition | None:
        """Of the last revision that was authorized."""
        return self.transfers[-1].disposition if self.transfers else None

    @property
    def next_contract(self) -> str | None:
        """The ID of the contract that its routing trigger names, which may name a file."""
        named = self.routing_trigger.next_contract
        return document_name(named) if named else None


class ContractToCome(Model):
    """What a routing trigger promises and nobody has staged yet."""

    smart_contract_id: str
    node: str
    after: str


class ClientOrder(Model):
    """All staged contracts of one `clientpo_id` in the order of their sequence numbers."""

    clientpo_id: str
    client: str
    contracts: tuple[Contract, ...]
    notified_at: UtcDateTime | None = None
    """When this system's Business Hub was told that the chain has ended."""

    def to_come(self) -> list[ContractToCome]:
        """Of every contract that has not ended, the next one; which come after those, only they themselves say."""
        staged = {contract.smart_contract_id for contract in self.contracts}
        return [
            ContractToCome(
                smart_contract_id=contract.next_contract,
                node=contract.routing_trigger.next_station or "",
                after=contract.smart_contract_id,
            )
            for contract in self.contracts
            if contract.next_contract is not None
            and contract.next_contract not in staged
            and contract_stand(contract).standing is not Standing.ENDED
        ]


STUCK_TESTS = frozenset({TestStatus.BLOCKED, TestStatus.REWORK, TestStatus.HOLD})
STUCK_LEGS = frozenset({LegStatus.WAITING, LegStatus.AWAITING_DISPOSITION})

# --- where it stands -------------------------------------------------------------------------------------------------

_NOTHING = Stand(standing=Standing.COMPLETE, waits_for="nothing: complete", moved_on_by="nobody")


def together(stands: Iterable[Stand]) -> Stand:
    """What has most need of a person speaks, and everything that needs one as much."""
    found = list(dict.fromkeys(stands)) or [_NOTHING]
    for standing in Standing:
        if said := [stand for stand in found if stand.standing is standing]:
            break
    return Stand(
        standing=standing,
        waits_for="; ".join(dict.fromkeys(stand.waits_for for stand in said)),
        moved_on_by="; ".join(dict.fromkeys(stand.moved_on_by for stand in said)),
    )


def order_stand(order: ClientOrder) -> Stand:
    """Complete when every contract is and none is to come; while one is, the order is under way."""
    stands = [_of(contract.smart_contract_id, contract_stand(contract)) for contract in order.contracts]
    stand = together([*stands, *(to_come_stand(contract) for contract in order.to_come())])
    if stand.standing is Standing.TO_COME:
        return stand.model_copy(update={"standing": Standing.UNDER_WAY})
    return stand


def _of(name: str, stand: Stand) -> Stand:
    if stand.standing is Standing.COMPLETE:
        return stand
    return stand.model_copy(update={"waits_for": f"{name} waits for {stand.waits_for}"})


def to_come_stand(contract: ContractToCome) -> Stand:
    """A contract that nobody has staged yet."""
    return Stand(
        standing=Standing.TO_COME,
        waits_for=f"{contract.smart_contract_id} at {contract.node}, which comes after {contract.after}",
        moved_on_by=f"the transfer of {contract.after} to its next node",
    )


def contract_stand(contract: Contract) -> Stand:
    """The PO until it is released, then the test, and all transfers: an earlier revision's may still be stuck."""
    if contract.po_status is not ClientPOStatus.RELEASED:
        return _po_stand(contract)
    if contract.test is None:
        return _under_way(f"its test at {contract.node} to be opened", "the worker")
    transfers = (_transfer_stand(contract, transfer) for transfer in contract.transfers)
    return together([_test_stand(contract, contract.test), *transfers])


def _po_stand(contract: Contract) -> Stand:
    match contract.po_status:
        case ClientPOStatus.CANCELLED:
            standing = Standing.ENDED
        case ClientPOStatus.HOLD:
            standing = Standing.STUCK
        case _:
            standing = Standing.STUCK if contract.release_error else Standing.UNDER_WAY
    return _stand(standing, contract.outlook)


def _test_stand(contract: Contract, test: Test) -> Stand:
    if test.status is TestStatus.AUTHORIZED:
        if any(transfer.package_id == test.package_id for transfer in contract.transfers):
            return _NOTHING
        return _under_way(f"the transfer of {test.package_id} to begin", "the worker")
    if test.status is TestStatus.ABORTED:
        standing = Standing.ENDED
    else:
        standing = Standing.STUCK if test.status in STUCK_TESTS else Standing.UNDER_WAY
    said = test.model_dump(exclude={"revision", "package_id"})
    return _stand(standing, outlook(node=contract.node, **said))


def _transfer_stand(contract: Contract, transfer: Transfer) -> Stand:
    if transfer.status is PackageStatus.REFUSED:
        return _stuck(
            f"an authorization that holds: {transfer.package_id} was refused",
            "whoever sends a true one; the ledger says why this one was refused",
        )
    stands = [_leg_stand(transfer, leg) for leg in transfer.legs if leg.status not in DONE]
    return together(stands or [_after(contract, transfer)])


def _after(contract: Contract, transfer: Transfer) -> Stand:
    """Where all legs are done."""
    match transfer.disposition:
        case None | Disposition.USE_AS_IS:
            return _NOTHING
        case Disposition.REWORK:
            reopened = contract.test is not None and contract.test.package_id != transfer.package_id
            return _NOTHING if reopened else _under_way("its test to be opened again for rework", "the worker")
        case Disposition.SCRAP:
            return _ended("nothing: the part is scrap")
        case Disposition.RETURN_TO_CLIENT:
            return _ended("nothing: the part goes back to the client")


def _leg_stand(transfer: Transfer, leg: Leg) -> Stand:
    view = leg_outlook(leg.destination, leg.status, leg.error)
    which = f"{LEG_NAMES[leg.destination]} leg of {transfer.package_id}"
    if leg.status is LegStatus.AWAITING_DISPOSITION and transfer.nonconformance is not None:
        which = f"nonconformance {transfer.nonconformance}, {which}"
    return Stand(
        standing=Standing.STUCK if leg.status in STUCK_LEGS else Standing.UNDER_WAY,
        waits_for=f"{view.waits_for} ({which})",
        moved_on_by=view.moved_on_by,
    )


def _stand(standing: Standing, outlook: Outlook) -> Stand:
    return Stand(standing=standing, **outlook.model_dump())


def _stuck(waits_for: str, moved_on_by: str) -> Stand:
    return Stand(standing=Standing.STUCK, waits_for=waits_for, moved_on_by=moved_on_by)


def _under_way(waits_for: str, moved_on_by: str) -> Stand:
    return Stand(standing=Standing.UNDER_WAY, waits_for=waits_for, moved_on_by=moved_on_by)


def _ended(waits_for: str) -> Stand:
    return Stand(standing=Standing.ENDED, waits_for=waits_for, moved_on_by="nobody")
