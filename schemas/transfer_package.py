"""What each receiver is sent of an authorized package (specification 2): transfers A and B, and their receipts."""

from typing import Any, Literal

from schemas.base import Identifier, Model, UtcDateTime
from schemas.guardian import AuthorizationPackage


class CitedEntry(Model):
    """A ledger entry that belongs to the audit chain of a contract."""

    seq: int
    leaf: str
    action: str


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
