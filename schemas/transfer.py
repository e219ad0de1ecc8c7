"""The dual transfer of an authorized package (specification 2): two legs that never wait for each other.

Each leg has a status of its own; the package's nine states follow from the two by one table. A third leg, the
notification of the Business Hub, exists where a client order is complete with this contract; it is no part of the
specification's states.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

from schemas import names
from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.canonical import document_hash
from schemas.client_po import Reasoned, Request
from schemas.decision import Wanted
from schemas.guardian import AuthorizationPackage
from schemas.permission import Permission
from schemas.routing import RoutingTrigger, RoutingType


class Destination(StrEnum):
    """Where a leg goes."""

    VAULT = "vault"
    NEXT_NODE = "next_node"
    BUSINESS_HUB = "business_hub"


class LegStatus(StrEnum):
    """`failed` tries again by itself, `waiting` needs a person; `awaiting_disposition` too, before it may begin."""

    PENDING = "pending"
    AWAITING_DISPOSITION = "awaiting_disposition"
    PREPARING = "preparing"
    TRANSFERRING = "transferring"
    FAILED = "failed"
    WAITING = "waiting"
    COMPLETE = "complete"
    NOT_APPLICABLE = "not_applicable"


DONE = frozenset({LegStatus.COMPLETE, LegStatus.NOT_APPLICABLE})


class PackageStatus(StrEnum):
    """The specification's nine transfer package states, and `refused` for what was never authorized."""

    AUTHORIZED = "authorized"
    PREPARING_VAULT = "preparing_vault"
    PREPARING_NEXT_NODE = "preparing_next_node"
    TRANSFERRING_VAULT = "transferring_vault"
    TRANSFERRING_NEXT_NODE = "transferring_next_node"
    VAULT_COMPLETE = "vault_complete"
    NEXT_NODE_COMPLETE = "next_node_complete"
    FULLY_COMPLETE = "fully_complete"
    RETRY_PENDING = "retry_pending"
    REFUSED = "refused"


TERMINAL = frozenset({PackageStatus.FULLY_COMPLETE, PackageStatus.REFUSED})

_L, _P = LegStatus, PackageStatus

_BY_VAULT: dict[LegStatus, PackageStatus] = {
    _L.PREPARING: _P.PREPARING_VAULT,
    _L.TRANSFERRING: _P.TRANSFERRING_VAULT,
}
_BY_NEXT_NODE: dict[LegStatus, PackageStatus] = {
    _L.PREPARING: _P.PREPARING_NEXT_NODE,
    _L.TRANSFERRING: _P.TRANSFERRING_NEXT_NODE,
}


def _derived(vault: LegStatus, next_node: LegStatus) -> PackageStatus:
    """Trouble first, then what is under way (the vault before the next node), then what is done."""
    if {vault, next_node} & {_L.FAILED, _L.WAITING}:
        return _P.RETRY_PENDING
    if vault in DONE and next_node in DONE:
        return _P.FULLY_COMPLETE
    if next_node is _L.COMPLETE:
        return _P.NEXT_NODE_COMPLETE
    if vault in _BY_VAULT:
        return _BY_VAULT[vault]
    if next_node in _BY_NEXT_NODE:
        return _BY_NEXT_NODE[next_node]
    return _P.VAULT_COMPLETE if vault is _L.COMPLETE else _P.AUTHORIZED


PACKAGE_STATUS: dict[tuple[LegStatus, LegStatus], PackageStatus] = {
    (vault, next_node): _derived(vault, next_node) for vault in LegStatus for next_node in LegStatus
}
"""The one table: the package's state by those of the vault leg and the next-node leg."""


# --- what is sent ----------------------------------------------------------------------------------------------------


class CitedEntry(Model):
    """A ledger entry that belongs to the audit chain of a contract."""

    seq: int
    leaf: str
    action: str


class Routing(Model):
    """The specification's `read_routing_trigger`."""

    routing_type: RoutingType
    next_station: str | None
    next_contract: str | None
    vault_transfer: bool
    workflow_complete: bool
    is_final_contract: bool


def read_routing_trigger(trigger: dict[str, Any]) -> Routing:
    """The next step of a completed contract; raises `ValidationError` where the trigger is none."""
    read = RoutingTrigger.model_validate(trigger)
    complete = read.type is RoutingType.WORKFLOW_COMPLETE
    return Routing(
        routing_type=read.type,
        next_station=read.next_station,
        next_contract=read.next_contract,
        vault_transfer=read.vault_transfer,
        workflow_complete=complete,
        is_final_contract=complete,
    )


class ComplianceMetadata(Model):
    """Counted and read from what was signed, never assumed."""

    all_approvals_verified: bool
    approval_count: int
    test_procedure_followed: bool


class AuditChain(Model):
    """Where the node keeps its copy, and the ledger entries about the contract when the package was prepared."""

    local_backup_path: str
    guardian_node: str
    transfer_timestamp: UtcDateTime
    entries: tuple[CitedEntry, ...]


class WorkflowState(Model):
    """Whether the chain goes on after this contract."""

    is_final_contract: bool
    has_next_step: bool


class VaultPackage(Model):
    """Transfer A: the authorization as the Guardian signed it, and what belongs to it."""

    package_type: Literal["test_results"] = "test_results"
    package_id: str
    source_node: str
    authorization: AuthorizationPackage
    completion_timestamp: UtcDateTime
    compliance_metadata: ComplianceMetadata
    audit_chain: AuditChain
    workflow_status: WorkflowState


class PartTracking(Model):
    """The part that is ready, and where it lies."""

    part_id: str | None
    part_number: str | None
    quantity: int
    previous_test: str
    previous_test_status: Literal["complete"] = "complete"
    ready_for_pickup: Literal[True] = True
    place: str


class ContractMetadata(Model):
    """The contract to come."""

    contract_id: Identifier
    contract_type: str
    test_type: str
    sequence_number: int


class PreviousTest(Model):
    """What the next node may know of the test before."""

    smart_contract_id: Identifier
    test_id: str
    completion_timestamp: UtcDateTime
    all_approvals: Literal[True] = True


def compliance_of(package: AuthorizationPackage) -> ComplianceMetadata:
    """As the signed package says it."""
    signed = {item.test_id: item.content_hash for item in package.test_data.tests}
    return ComplianceMetadata(
        all_approvals_verified=signed.keys() == {approval.test_id for approval in package.approvals}
        and all(signed[approval.test_id] == approval.content_hash for approval in package.approvals),
        approval_count=len(package.approvals),
        test_procedure_followed=all(item.result.procedure_followed for item in package.test_data.tests),
    )


class NextNodePackage(Model):
    """Transfer B: part ready for pickup, and the next contract of the sequence."""

    package_type: Literal["part_ready"] = "part_ready"
    package_id: str
    source_node: str
    target_node: Identifier
    clientpo_id: Identifier
    part_tracking: PartTracking
    next_contract: dict[str, Any]
    next_contract_hash: str
    contract_metadata: ContractMetadata
    previous_test_summary: PreviousTest
    dispatch_timestamp: UtcDateTime


class RouteToNode(Model):
    """What the Floor Hub is sent."""

    target_node: Identifier
    package: NextNodePackage


class OrderComplete(Model):
    """What the Business Hub is told when a chain has ended."""

    package_id: str
    clientpo_id: Identifier
    smart_contract_id: Identifier
    verdict: str
    completed_at: UtcDateTime


class HubReceipt(Model):
    """A hub's answer once it has stored what came: `content_hash` is the RFC 8785 hash of what it received."""

    package_id: str
    content_hash: str
    received_at: UtcDateTime


# --- attempts --------------------------------------------------------------------------------------------------------


class LegPolicy(Model):
    """One attempt and `retries` more; seconds, the pause doubles each time."""

    retries: int = Field(default=3, ge=0)
    first_pause: float = 1.0

    def pause(self, retry: int) -> timedelta:
        """Before the `retry`th retry, counted from 1."""
        return timedelta(seconds=self.first_pause * 2 ** (retry - 1))


class Sending(Model):
    """One attempt: what goes where, under a key that is the same for every attempt."""

    destination: Destination
    package_id: str
    body: dict[str, Any]

    @property
    def idempotency_key(self) -> str:
        return f"{self.package_id}:{self.destination}"

    @property
    def content_hash(self) -> str:
        return document_hash(self.body)


class Delivery(Model):
    """How an attempt ended: a receipt, or an error; `curable` says whether repeating may help."""

    receipt: HubReceipt | None = None
    error: str | None = None
    curable: bool = True


class Prepare(Model):
    """Asks for what a leg sends; `at` stands in it as the time of dispatch."""

    destination: Destination
    package: AuthorizationPackage
    at: UtcDateTime


class Preparation(Model):
    """What a leg sends, or why there is nothing to send (`missing`: the next contract is not in the store)."""

    body: dict[str, Any] | None = None
    refusal: str | None = None
    missing: bool = False


class Admission(Model):
    """Why a package is refused; None where its signature, key and hashes hold and the contract is the staged one.

    `policies` are how each leg tries here, as settings say.
    """

    refusal: str | None = None
    policies: dict[Destination, LegPolicy] = Field(default_factory=dict)


# --- what a transfer is told -----------------------------------------------------------------------------------------


class RetryRequest(Request):
    """Tries a leg again that waits for a person."""

    reason: Text = "retry"
    destination: Destination


class Disposition(StrEnum):
    """What becomes of a part whose results are not accepted."""

    USE_AS_IS = "use_as_is"
    REWORK = "rework"
    SCRAP = "scrap"
    RETURN_TO_CLIENT = "return_to_client"


class DisposeRequest(Model):
    """A person's disposition; the token says which."""

    token: str | None = None
    reason: Text


REQUESTS: dict[str, type[BaseModel]] = {names.RETRY_TRANSFER: RetryRequest, names.DISPOSE: DisposeRequest}


class Retrial(Reasoned):
    """What a person asks over HTTP."""

    reason: Text = "retry"
    destination: Destination


class Dispose(Reasoned):
    """What a person decides over HTTP on what they see."""

    disposition: Disposition
    content_hash: str


def disposition_wanted(package_id: str, content_hash: str) -> Wanted:
    """The disposition of exactly these results; `content_hash` is the package's."""
    return Wanted(
        workflow_id=names.transfer_id(package_id),
        content_hash=content_hash,
        decisions=tuple(disposition.value for disposition in Disposition),
        permission=Permission.DISPOSITION_DECIDE,
    )


# --- the life of a transfer ------------------------------------------------------------------------------------------


class LegLife(BaseModel):
    """Where one leg stands. `attempts` counts all, `retries` those since a person was asked last."""

    status: LegStatus = LegStatus.PENDING
    attempts: int = 0
    retries: int = 0
    escalations: int = 0
    error: str | None = None
    receipt: HubReceipt | None = None
    body: dict[str, Any] | None = None


class TransferLife(BaseModel):
    """What is known of a transfer: mutable, and the only state of its workflow."""

    policies: dict[Destination, LegPolicy] = Field(default_factory=dict)
    legs: dict[Destination, LegLife] = Field(default_factory=dict)
    disposition: Disposition | None = None
    tokens: list[str] = Field(default_factory=list)
    last_refusal: str | None = None
    refusal: str | None = None

    @property
    def status(self) -> PackageStatus:
        """Derived from the two legs."""
        if self.refusal is not None:
            return PackageStatus.REFUSED
        vault, next_node = (
            self.legs[leg].status if leg in self.legs else LegStatus.PENDING
            for leg in (Destination.VAULT, Destination.NEXT_NODE)
        )
        return PACKAGE_STATUS[vault, next_node]

    @property
    def ended(self) -> bool:
        return self.refusal is not None or (bool(self.legs) and all(leg.status in DONE for leg in self.legs.values()))


class TransferStart(Model):
    """Input of a `TransferWorkflow`; `life` and `signals` travel through continue-as-new."""

    package: AuthorizationPackage
    life: TransferLife | None = None
    signals: int = 0


class TransferEnd(Model):
    """How a transfer ended."""

    package_id: str
    status: PackageStatus
    disposition: Disposition | None = None
