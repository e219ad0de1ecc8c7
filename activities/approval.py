"""What became of an approval."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.approval import ApprovalEnded, ApprovalOutcome

if TYPE_CHECKING:
    from infra.approvals import Approvals


class ApprovalActivities:
    """For workflows that asked."""

    def __init__(self, approvals: "Approvals") -> None:
        self._approvals = approvals

    @activity.defn
    async def read_outcome(self, ended: ApprovalEnded) -> ApprovalOutcome | None:
        """As it is recorded; None while it is open, whoever says otherwise."""
        return await self._approvals.outcome(ended.approval_id)
