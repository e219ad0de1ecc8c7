"""What is recorded in one transaction: the ledger entry and the rows that it changes."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from schemas.alert import Alert
from schemas.base import Model, Partial, UtcDateTime
from schemas.ledger import LedgerEntry
from schemas.permission import Role
from schemas.reverse_trace import Selection, TracedResult


class AlertRaised(Model):
    """Raises an alert and puts it into the outbox; while one of its cause is open, that one is only counted up, and
    where it is about maintenance, the report is told for itself.

    Nothing happens for an `alert_id` that was raised before.
    """

    kind: Literal["alert_raised"] = "alert_raised"
    alert: Alert


class AlertAcknowledged(Model):
    """The entry's user has seen the alert, and says in its details what is done about it."""

    kind: Literal["alert_acknowledged"] = "alert_acknowledged"
    alert_id: str
    note: str | None


class AlertEscalated(Model):
    """Nobody acknowledged it in time: for the `number`th time it has another owner."""

    kind: Literal["alert_escalated"] = "alert_escalated"
    alert_id: str
    number: int
    owner: Role


class AlertResolved(Model):
    """The cause is gone, as the entry says; nothing happens where no alert of it is open."""

    kind: Literal["alert_resolved"] = "alert_resolved"
    cause: str


class ClientPOStaged(Model):
    """Inserts the row of a new SmartClientPO."""

    kind: Literal["client_po_staged"] = "client_po_staged"
    smart_contract_id: str
    document: str
    document_hash: str
    staging_id: str
    workflow_id: str
    clientpo_id: str
    client: str
    part_id: str | None
    part_number: str | None
    quantity: int
    priority: int
    due_date: UtcDateTime | None
    expected_arrival: UtcDateTime | None
    arrival_location: str | None
    sequence_number: int
    target_node: str
    status: str
    routed_from: str | None = None


class ClientPOChanged(Partial):
    """Changes columns of one SmartClientPO's row: only the fields that are set.

    `arrived_now` and `released_now` stamp the row with the time of the ledger entry that says so; `unconfirmed`
    takes the arrival's stamp away again.
    """

    kind: Literal["client_po_changed"] = "client_po_changed"
    smart_contract_id: str
    status: str | None = None
    arrived: int | None = None
    accepted_quantity: int | None = None
    priority: int | None = None
    due_date: UtcDateTime | None = None
    expected_arrival: UtcDateTime | None = None
    hold_reason: str | None = None
    release_error: str | None = None
    receipt_hash: str | None = None
    pending_approval: str | None = None
    routed_from: str | None = None
    arrived_now: bool = False
    unconfirmed: bool = False
    released_now: bool = False


class ApprovalOpened(Model):
    """Inserts the row of a new approval."""

    kind: Literal["approval_opened"] = "approval_opened"
    approval_id: str
    request_type: str
    subject: str
    requested_by: str
    on_behalf_of: str | None
    summary: str
    changes: str
    reason: str
    content_hash: str
    permission: str
    owner: str
    wakes: str | None
    status: str
    expires_at: UtcDateTime


class ApprovalChanged(Partial):
    """Changes columns of one approval's row; `ended_now` stamps it with the time of the ledger entry."""

    kind: Literal["approval_changed"] = "approval_changed"
    approval_id: str
    status: str | None = None
    owner: str | None = None
    decided_by: str | None = None
    decided_role: str | None = None
    note: str | None = None
    ended_now: bool = False


class TestOpened(Model):
    """Inserts the row of a test that waits at its node."""

    __test__ = False

    kind: Literal["test_opened"] = "test_opened"
    smart_contract_id: str
    clientpo_id: str
    node_id: str
    status: str


class TestChanged(Partial):
    """Changes columns of one test's row; the stamps give it the time of the ledger entry.

    `missing` and `open_signoffs` are sentences for people; `begun` is JSON.
    """

    __test__ = False

    kind: Literal["test_changed"] = "test_changed"
    smart_contract_id: str
    status: str | None = None
    performer: str | None = None
    begun: str | None = None
    revision: int | None = None
    missing: str | None = None
    open_signoffs: str | None = None
    hold_reason: str | None = None
    rework_reason: str | None = None
    package_id: str | None = None
    started_now: bool = False
    submitted_now: bool = False
    signed_now: bool = False
    authorized_now: bool = False


class ResultSubmitted(Model):
    """Inserts one test's results of one revision; `result` is JSON. Earlier ones stay. `flags` are for people."""

    kind: Literal["result_submitted"] = "result_submitted"
    smart_contract_id: str
    revision: int
    test_id: str
    verdict: str
    result: str
    content_hash: str
    submitted_by: str
    flags: str | None = None


class SignedOff(Model):
    """Inserts a person's decision on the results of one test: `sign` or `reject`."""

    kind: Literal["signed_off"] = "signed_off"
    smart_contract_id: str
    test_id: str
    role: str
    person: str
    decision: str
    meaning: str
    reason: str | None
    content_hash: str
    qualification: str | None


class SignOffsVoided(Model):
    """The sign-offs of this test are for content that is not current any more."""

    kind: Literal["sign_offs_voided"] = "sign_offs_voided"
    smart_contract_id: str
    test_id: str


class TransferOpened(Model):
    """Inserts the row of an authorized package: it decides that the same package twice is one."""

    kind: Literal["transfer_opened"] = "transfer_opened"
    package_id: str
    smart_contract_id: str
    clientpo_id: str
    node_id: str
    revision: int
    verdict: str
    package: str
    content_hash: str
    signed_at: UtcDateTime
    authorized_at: UtcDateTime


class TransferChanged(Partial):
    """Changes columns of one transfer's row; the stamps give it the time of the ledger entry."""

    kind: Literal["transfer_changed"] = "transfer_changed"
    package_id: str
    status: str | None = None
    vault_status: str | None = None
    vault_attempts: int | None = None
    vault_error: str | None = None
    next_node_status: str | None = None
    next_node_attempts: int | None = None
    next_node_error: str | None = None
    business_hub_status: str | None = None
    business_hub_attempts: int | None = None
    business_hub_error: str | None = None
    next_station: str | None = None
    next_contract: str | None = None
    disposition: str | None = None
    received_now: bool = False
    vault_now: bool = False
    next_node_now: bool = False
    ended_now: bool = False


class TransferRefused(Model):
    """A package with exactly this content authorizes nothing: so says its row, where there is one."""

    kind: Literal["transfer_refused"] = "transfer_refused"
    package_id: str
    content_hash: str


class NonconformanceOpened(Model):
    """Inserts a nonconformance record, which gets its number there."""

    kind: Literal["nonconformance_opened"] = "nonconformance_opened"
    package_id: str
    smart_contract_id: str
    clientpo_id: str
    verdict: str
    tests: str
    content_hash: str


class NonconformanceDisposed(Model):
    """The entry's user has decided what becomes of the part."""

    kind: Literal["nonconformance_disposed"] = "nonconformance_disposed"
    package_id: str
    disposition: str
    decided_role: str
    reason: str


class VaultStored(Model):
    """Inserts a package into the vault; `body` is the canonical JSON of exactly what was received."""

    kind: Literal["vault_stored"] = "vault_stored"
    package_id: str
    smart_contract_id: str
    clientpo_id: str
    revision: int
    replaces: str | None
    verdict: str
    body: str
    content_hash: str


class OrderCompleted(Model):
    """Inserts what the Business Hub was told: the chain of a client order has ended."""

    kind: Literal["order_completed"] = "order_completed"
    package_id: str
    clientpo_id: str
    smart_contract_id: str
    verdict: str
    content_hash: str


class ContractCreated(Model):
    """Inserts a version of a maintenance contract as a draft; `document` and `changes` are JSON."""

    kind: Literal["contract_created"] = "contract_created"
    contract_id: str
    version: str
    station_type: str
    title: str
    document: str
    document_hash: str
    status: str
    parent_version: str | None
    changes: str | None
    created_by: str


class ContractChanged(Partial):
    """Changes columns of one version's row; the stamps give it the time of the ledger entry. `faults` is JSON."""

    kind: Literal["contract_changed"] = "contract_changed"
    contract_id: str
    version: str
    status: str | None = None
    title: str | None = None
    document: str | None = None
    document_hash: str | None = None
    changes: str | None = None
    faults: str | None = None
    file_hash: str | None = None
    pending_approval: str | None = None
    publish_fault: str | None = None
    retirement_reason: str | None = None
    validated_now: bool = False
    deployed_now: bool = False
    active_now: bool = False
    deprecated_now: bool = False
    archived_now: bool = False


class DeploymentOpened(Model):
    """Inserts the row of a version on its way to a node, with the entry's number; it stays where it is there."""

    kind: Literal["deployment_opened"] = "deployment_opened"
    contract_id: str
    version: str
    node_id: str


class DeploymentChanged(Model):
    """Says what became of a version on a node: acknowledged, superseded, retired."""

    kind: Literal["deployment_changed"] = "deployment_changed"
    contract_id: str
    version: str
    node_id: str
    status: str


class DeploymentsSuperseded(Model):
    """A node has taken the deployment `below`: all versions of the contract that came before it have ended there."""

    kind: Literal["deployments_superseded"] = "deployments_superseded"
    contract_id: str
    node_id: str
    below: int


class EquipmentRegistered(Model):
    """Inserts a line of the equipment register; nothing happens where it is there."""

    kind: Literal["equipment_registered"] = "equipment_registered"
    equipment_id: str
    equipment_type: str
    description: str
    node_id: str
    home_node: str
    work_center: str | None
    calibration_interval_days: int | None
    warning_days: int


class EquipmentChanged(Partial):
    """Changes columns of one line of the register, which has the next revision from then on."""

    kind: Literal["equipment_changed"] = "equipment_changed"
    equipment_id: str
    description: str | None = None
    node_id: str | None = None
    work_center: str | None = None
    calibration_interval_days: int | None = None
    warning_days: int | None = None
    out_of_service: str | None = None
    calibration_scheduled_on: date | None = None


class EquipmentEvent(Model):
    """Inserts what happened to an instrument beside calibrations: registered, moved, out of service, back."""

    kind: Literal["equipment_event"] = "equipment_event"
    equipment_id: str
    event: str
    node_id: str
    reason: str | None = None


class CalibrationRecorded(Model):
    """Inserts a calibration, and raises the revision of its instrument's line; `calibration` is the whole as JSON."""

    kind: Literal["calibration_recorded"] = "calibration_recorded"
    equipment_id: str
    certificate_number: str
    calibrated_on: date
    due_on: date | None
    result: str
    found_out_of_tolerance: bool
    corrects: str | None = None
    calibration: str
    node_id: str


class MaintenanceAlertReceived(Model):
    """Inserts an alert that counts for a contract; nothing happens where it was received before. `data` is JSON."""

    kind: Literal["maintenance_alert_received"] = "maintenance_alert_received"
    alert_id: str
    contract_id: str
    issue_type: str
    equipment_id: str
    equipment_type: str
    node_id: str
    data: str
    occurred_at: UtcDateTime


class ReviewOpened(Model):
    """Inserts a review that alerts gave reason for; `alert_ids`, `node_ids` and `proposed` are JSON."""

    kind: Literal["review_opened"] = "review_opened"
    review_id: str
    review_type: str
    contract_id: str
    version: str
    issue_type: str
    alert_ids: str
    node_ids: str
    proposed: str
    approval_id: str


class ReviewEnded(Model):
    """How a review ended; `draft_version` where it was accepted."""

    kind: Literal["review_ended"] = "review_ended"
    review_id: str
    status: str
    decided_by: str | None
    note: str | None
    draft_version: str | None


class TraceOpened(Model):
    """Inserts the row of a reverse trace; `searched_at` is empty until its first search is over."""

    kind: Literal["trace_opened"] = "trace_opened"
    trace_id: str
    equipment_id: str
    certificate_number: str
    calibrated_on: date
    since: date | None
    found_at: UtcDateTime


class ResultsTraced(Model):
    """Inserts results in doubt."""

    kind: Literal["results_traced"] = "results_traced"
    trace_id: str
    results: tuple[TracedResult, ...]


class TraceSearched(Model):
    """All results are listed that the ledger has."""

    kind: Literal["trace_searched"] = "trace_searched"
    trace_id: str


class TracedResultsDisposed(Model):
    """The entry's user has decided what becomes of all selected results that wait."""

    kind: Literal["traced_results_disposed"] = "traced_results_disposed"
    trace_id: str
    selection: Selection
    disposition: str
    decided_role: str
    reason: str


class TraceAlertsResolved(Model):
    """The alerts are over of those client orders of which no result of this trace waits any more."""

    kind: Literal["trace_alerts_resolved"] = "trace_alerts_resolved"
    trace_id: str


class TraceClosed(Model):
    """Every result of a trace has its disposition."""

    kind: Literal["trace_closed"] = "trace_closed"
    trace_id: str


class VaultAmended(Model):
    """Inserts an amendment for each result that the same entry has disposed of: it is withdrawn, or measured again.

    It names the result and not its package: so it holds for one that comes into the vault later, too.
    """

    kind: Literal["vault_amended"] = "vault_amended"
    trace_id: str


Change = Annotated[
    AlertRaised
    | AlertAcknowledged
    | AlertEscalated
    | AlertResolved
    | ClientPOStaged
    | ClientPOChanged
    | ApprovalOpened
    | ApprovalChanged
    | TestOpened
    | TestChanged
    | ResultSubmitted
    | SignedOff
    | SignOffsVoided
    | TransferOpened
    | TransferChanged
    | TransferRefused
    | NonconformanceOpened
    | NonconformanceDisposed
    | VaultStored
    | OrderCompleted
    | ContractCreated
    | ContractChanged
    | DeploymentOpened
    | DeploymentChanged
    | DeploymentsSuperseded
    | EquipmentRegistered
    | EquipmentChanged
    | EquipmentEvent
    | CalibrationRecorded
    | MaintenanceAlertReceived
    | ReviewOpened
    | ReviewEnded
    | TraceOpened
    | ResultsTraced
    | TraceSearched
    | TracedResultsDisposed
    | TraceAlertsResolved
    | TraceClosed
    | VaultAmended,
    Field(discriminator="kind"),
]


class Record(Model):
    """One ledger entry with the row changes that it justifies: all of it is committed, or nothing."""

    entry: LedgerEntry
    changes: tuple[Change, ...] = ()
