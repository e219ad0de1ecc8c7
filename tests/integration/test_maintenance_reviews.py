"""Reviews in rows, and the approvals that end them."""

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.approvals import Approvals
from infra.ledger import Ledger
from schemas.approval import ApprovalStatus
from schemas.changes.approval import ApprovalChanged
from schemas.changes.maintenance_pattern import ReviewEnded
from schemas.ledger import LedgerEntry
from schemas.record import Change, Record
from tests.opened import opened_approval, opened_review

NAME = "LP-uv.check_failed.1"


class TestAnApprovalThatEndedWithoutItsReviewHearingOfIt:
    async def test_is_unheard_until_the_review_has_ended(self, engine: AsyncEngine, ledger: Ledger) -> None:
        async def unheard_after(key: str, change: Change) -> list[str]:
            entry = LedgerEntry(idempotency_key=key, action_type="t", action="a", target="LP-uv", details="told")
            await ledger.record(Record(entry=entry, changes=(change,)))
            return [row["approval_id"] for row in await Approvals(engine).unheard()]

        asked = opened_approval(NAME, request_type="contract_review", wakes="maintenance-pattern/LP-uv/check_failed")
        refused = ApprovalChanged(approval_id=NAME, status=ApprovalStatus.REFUSED, ended_now=True)
        ended = ReviewEnded(review_id=NAME, status="declined", decided_by="mia", note="known", draft_version=None)
        assert await unheard_after("review", opened_review(NAME)) == []
        assert await unheard_after("approval", asked) == []
        assert await unheard_after("refused", refused) == [NAME]
        assert await unheard_after("ended", ended) == []
