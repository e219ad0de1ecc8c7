"""What becomes of the row of an approval."""

from typing import Literal

from schemas.base import Model, Partial, UtcDateTime


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


ChangeOfApproval = ApprovalOpened | ApprovalChanged
