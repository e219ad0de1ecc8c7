"""What becomes of the row of a SmartClientPO."""

from typing import Literal

from schemas.base import Model, Partial, UtcDateTime


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


ChangeOfClientPO = ClientPOStaged | ClientPOChanged
