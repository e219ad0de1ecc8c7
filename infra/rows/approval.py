"""The rows of approvals."""

from sqlalchemy import Executable

from infra.rows.base import Reason, inserted, updated
from infra.tables.approval import approvals
from schemas.changes.approval import ApprovalChanged, ApprovalOpened, ChangeOfApproval


def statement(change: ChangeOfApproval, reason: Reason) -> Executable:
    match change:
        case ApprovalOpened():
            return inserted(approvals, change, opened_at=reason.at)
        case ApprovalChanged():
            return updated(approvals, change, reason.at)
