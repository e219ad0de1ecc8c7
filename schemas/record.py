"""What is recorded in one transaction: the ledger entry and the rows that it changes."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.alert import Alert
from schemas.base import Model, Partial, UtcDateTime
from schemas.ledger import LedgerEntry
from schemas.permission import Role


class AlertRaised(Model):
    """Raises an alert and puts it into the outbox; while one of its cause is open, that one is only counted up.

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
    """Inserts one test's results of one revision; `result` is JSON. Earlier ones stay."""

    kind: Literal["result_submitted"] = "result_submitted"
    smart_contract_id: str
    revision: int
    test_id: str
    verdict: str
    result: str
    content_hash: str
    submitted_by: str


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
    | OrderCompleted,
    Field(discriminator="kind"),
]


class Record(Model):
    """One ledger entry with the row changes that it justifies: all of it is committed, or nothing."""

    entry: LedgerEntry
    changes: tuple[Change, ...] = ()
