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


Change = Annotated[
    AlertRaised
    | AlertAcknowledged
    | AlertEscalated
    | AlertResolved
    | ClientPOStaged
    | ClientPOChanged
    | ApprovalOpened
    | ApprovalChanged,
    Field(discriminator="kind"),
]


class Record(Model):
    """One ledger entry with the row changes that it justifies: all of it is committed, or nothing."""

    entry: LedgerEntry
    changes: tuple[Change, ...] = ()
