"""The life of one version of a maintenance contract: what people ask of it, and what moves it on (specification 3).

The states and the ways between them are those of `schemas.maintenance.NEXT`. A version counts as superseded or retired
on a node when that node has said so; which version is in force where is decided by the number of its deployment,
which is that of the ledger entry `deploy_contract`: it grows with every deployment of any contract. A version that
goes to further nodes later goes there under a number of its own: it comes after whatever a node had until then.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, Field

from schemas import names
from schemas.approval import ApprovalRequest, ApprovalType, Difference
from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.canonical import NotCanonical, document_hash
from schemas.decision import Wanted
from schemas.maintenance import IN_FORCE, NEXT, RETIRED, ContractStatus, Validation, Version, station_type
from schemas.maintenance_orders import Nodes
from schemas.maintenance_version import Changes, ContractChange, VersionRef, difference, draft_faults
from schemas.outlook import Outlook
from schemas.permission import Permission

MONITORED = timedelta(days=30)
"""How long the alerts of a version are watched from when it became active."""


# --- what is asked of it -----------------------------------------------------------------------------------------


class ContractRequest(Model):
    """What a version is asked; `user_id` is who asks. A signal from the Temporal UI may leave it out."""

    user_id: Identifier = "unidentified"


class ReviseContract(ContractRequest):
    """Another document for a draft."""

    document: dict[str, Any]
    reason: Text


class ValidateContract(ContractRequest):
    """Says all that is wrong with a draft; one with no fault is validated."""


class DeployContract(ContractRequest):
    """Asks that a version be deployed to these nodes, or to all of its station type, with the decision token of who
    asks; a second person approves. One that is in force goes to further nodes, those that never had it.
    """

    nodes: Nodes | None = None
    reason: Text
    token: Annotated[str, Field(max_length=4000)] | None = None


class RetireContract(ContractRequest):
    """Ends a version wherever it is in force, with the decision token of who says so."""

    reason: Text
    token: Annotated[str, Field(max_length=4000)] | None = None


class DeploymentsChanged(Model):
    """Something became of the version on a node. It says nothing more: that is read where it is recorded."""


REQUESTS: dict[str, type[ContractRequest]] = {
    names.REVISE: ReviseContract,
    names.VALIDATE: ValidateContract,
    names.DEPLOY: DeployContract,
    names.RETIRE: RetireContract,
}


def deployment_wanted(ref: VersionRef, hash_: str, nodes: Sequence[str]) -> Wanted:
    """The decision by which a person asks that exactly this document be deployed to exactly these nodes."""
    return Wanted(
        workflow_id=ref.workflow_id,
        content_hash=document_hash({"deploy": str(ref), "document_hash": hash_, "nodes": sorted(nodes)}),
        decisions=(names.DEPLOY,),
        permission=Permission.CONTRACT_DEPLOY,
        signs_record=False,
    )


def retirement_wanted(ref: VersionRef) -> Wanted:
    """The decision by which a person retires a version: nodes stop asking for what it asks for."""
    return Wanted(
        workflow_id=ref.workflow_id,
        content_hash=document_hash({"retire": str(ref)}),
        decisions=(names.RETIRE,),
        permission=Permission.CONTRACT_DEPLOY,
        signs_record=False,
    )


# --- where it is in force ----------------------------------------------------------------------------------------


class Progress(Model):
    """A version's row, and on how many nodes it is on its way (`pending`) and in force (`acknowledged`)."""

    status: ContractStatus
    pending: int
    acknowledged: int

    @property
    def next(self) -> ContractStatus | None:
        """The state that follows from what the nodes said; None where nothing does.

        A version that every node has left to a newer one is deprecated, one that is deprecated and in force nowhere
        is archived.
        """
        match self.status:
            case ContractStatus.DEPLOYED | ContractStatus.ACTIVE | ContractStatus.MONITORING if self._gone:
                return ContractStatus.DEPRECATED
            case ContractStatus.DEPLOYED if not self.pending:
                return ContractStatus.ACTIVE
            case ContractStatus.DEPRECATED if self._gone:
                return ContractStatus.ARCHIVED
            case _:
                return None

    @property
    def _gone(self) -> bool:
        return not self.pending and not self.acknowledged


class ContractRef(Model):
    """All versions of one contract."""

    contract_id: Identifier


class MovedVersions(Model):
    """Those whose next state follows from what is recorded of their nodes."""

    versions: tuple[Version, ...]


# --- its life ----------------------------------------------------------------------------------------------------


class PendingDeployment(Model):
    """A deployment that waits for its approval; `approved_by` once a second person has given it."""

    approval_id: str
    content_hash: str
    nodes: Nodes
    approved_by: Identifier | None = None


class ContractLife(BaseModel):
    """What is known of a version: mutable, and the only state of its workflow.

    `asked` counts the deployments that were asked for, `publish_fault` is why the approved one cannot go on, and
    `publish_faults` how many there were; `number` is that of its last deployment. Its nodes are `sent` it, and told
    when it is `ended_on_nodes`.
    """

    status: ContractStatus = ContractStatus.DRAFT
    document: dict[str, Any]
    document_hash: str
    changes: tuple[ContractChange, ...] = ()
    validation: Validation | None = None
    asked: int = 0
    deployment: PendingDeployment | None = None
    publish_fault: str | None = None
    publish_faults: int = 0
    publish_again: UtcDateTime | None = None
    number: int | None = None
    file_hash: str | None = None
    sent: bool = False
    ended_on_nodes: bool = False
    active_since: UtcDateTime | None = None
    retirement_reason: str | None = None
    tokens: list[str] = Field(default_factory=list)
    last_refusal: str | None = None

    def enter(self, status: ContractStatus) -> None:
        """Raises `ValueError` for a way that there is not."""
        if status not in NEXT[self.status]:
            raise ValueError(f"there is no way from {self.status} to {status}")
        self.status = status

    @property
    def approved(self) -> PendingDeployment | None:
        """What may go on."""
        return self.deployment if self.deployment and self.deployment.approved_by else None

    @property
    def monitored_until(self) -> datetime | None:
        return self.active_since and self.active_since + MONITORED

    def revise(self, document: dict[str, Any], parent: dict[str, Any] | None, reason: str) -> None:
        """Another document; what it changes of its parent keeps its reason and data where it stays as it was.

        Raises `ValueError` where a change cannot be recorded.
        """
        known = {change.field: change for change in self.changes}
        found = () if parent is None else difference(parent, document, reason)
        self.changes = tuple(
            before if (before := known.get(change.field)) and before.after == change.after else change
            for change in found
        )
        self.document, self.document_hash, self.validation = document, document_hash(document), None

    def refusal(self, request: object) -> str | None:
        """Why a request is impossible now; None where it is not."""
        match request:
            case ReviseContract() | ValidateContract() if self.status is not ContractStatus.DRAFT:
                return f"it is {self.status}, and no draft any more: make a new version of it"
            case ReviseContract() if request.document.get("smart_contract_id") != self.document["smart_contract_id"]:
                return f"smart_contract_id stays {self.document['smart_contract_id']}: another ID is another contract"
            case ReviseContract():
                return _not_a_draft(request.document)
            case DeployContract() if self.status is ContractStatus.DRAFT:
                return "it is a draft: validate it first"
            case DeployContract() if self.status not in (ContractStatus.VALIDATED, *IN_FORCE):
                return f"it is {self.status}, and is deployed no more: make a new version of it"
            case DeployContract() if self.deployment is not None:
                return f"{self.deployment.approval_id} already asks for its deployment"
            case RetireContract() if self.status in RETIRED:
                return f"it is {self.status} already"
            case _:
                return None


def _not_a_draft(document: dict[str, Any]) -> str | None:
    try:
        found = draft_faults(document, {station_type(document["smart_contract_id"])})
    except NotCanonical as error:
        return str(error)
    return "; ".join(map(str, found)) or None


class ContractStart(VersionRef):
    """Input of a `MaintenanceContractWorkflow`; `life` and `signals` travel through continue-as-new.

    `parent` is the document that it changes, None for a first version; `late_after` as in `NodeOrder`.
    """

    document: dict[str, Any]
    document_hash: str
    changes: Changes = ()
    parent_version: Version | None = None
    parent: dict[str, Any] | None = None
    late_after: int
    life: ContractLife | None = None
    signals: int = 0


class ContractEnd(VersionRef):
    """Result of the workflow."""

    status: ContractStatus


def deployment_approval_id(ref: VersionRef, number: int) -> str:
    """The approval that is asked the `number`th time."""
    return f"{ref.contract_id}.{ref.version}.deploy.{number}"


def deployment_request(
    start: ContractStart, life: ContractLife, nodes: Sequence[str], *, reason: str, requested_by: str
) -> ApprovalRequest:
    """What a second person is asked: exactly this document on exactly these nodes."""
    return ApprovalRequest(
        approval_id=deployment_approval_id(start, life.asked),
        request_type=ApprovalType.CONTRACT_DEPLOYMENT,
        subject=start.contract_id,
        requested_by=requested_by,
        changes=(
            Difference(field="version", before=start.parent_version, after=start.version),
            Difference(field="document_hash", before=None, after=life.document_hash),
            *(change.shown for change in life.changes),
            Difference(field="nodes", before=None, after=", ".join(nodes)),
        ),
        reason=reason,
        wakes=start.workflow_id,
    )


_OUTLOOKS: dict[ContractStatus, tuple[str, str]] = {
    ContractStatus.DRAFT: ("its validation", "whoever validates it, or revises it first"),
    ContractStatus.VALIDATED: ("its deployment", "whoever asks for it, and a second person who approves"),
    ContractStatus.DEPLOYED: ("its nodes to acknowledge it", "each node's worker, by itself when it is back"),
    ContractStatus.MONITORING: (
        f"the end of its first {MONITORED.days} days",
        "time; a newer version, or whoever retires it",
    ),
    ContractStatus.ACTIVE: ("nothing: its nodes execute it", "a newer version, or whoever retires it"),
    ContractStatus.DEPRECATED: ("its nodes to end it", "each node's worker, by itself when it is back"),
    ContractStatus.ARCHIVED: ("nothing", "nobody: it is kept for audits"),
}


def contract_outlook(
    status: ContractStatus,
    *,
    faults: int = 0,
    pending_approval: str | None = None,
    publish_fault: str | None = None,
    late_nodes: Sequence[str] = (),
) -> Outlook:
    """What a version waits for and who can move it on, as its row says or its workflow knows."""
    waits_for, moved_on_by = _OUTLOOKS[status]
    if status is ContractStatus.DRAFT and faults:
        waits_for, moved_on_by = f"somebody to mend {faults} faults", "whoever revises it, and validates it again"
    elif publish_fault:
        waits_for = f"the policy repository: {publish_fault}"
        moved_on_by = "whoever mends that; it goes on by itself within ten minutes"
    elif pending_approval:
        waits_for, moved_on_by = f"the approval {pending_approval}", "a second person who approves or refuses it"
    elif late_nodes:
        waits_for, moved_on_by = f"{', '.join(late_nodes)} to acknowledge it", _OUTLOOKS[ContractStatus.DEPLOYED][1]
    return Outlook(waits_for=waits_for, moved_on_by=moved_on_by)
