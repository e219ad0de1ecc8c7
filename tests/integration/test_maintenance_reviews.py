"""Reviews in rows, and the approvals that end them."""

import json

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.approvals import Approvals
from infra.ledger import Ledger
from schemas.approval import ApprovalStatus
from schemas.changes.approval import ApprovalChanged, ApprovalOpened
from schemas.changes.maintenance_pattern import ReviewEnded, ReviewOpened
from schemas.ledger import LedgerEntry
from schemas.record import Change, Record
from tests.integration.test_maintenance_analytics import FOREVER

NAME = "LP-uv.check_failed.1"

REVIEW = ReviewOpened(
    review_id=NAME,
    review_type="contract_review",
    contract_id="LP-uv",
    version="1.0",
    issue_type="check_failed",
    alert_ids=json.dumps([]),
    node_ids=json.dumps([]),
    proposed="{}",
    approval_id=NAME,
)
APPROVAL = ApprovalOpened(
    approval_id=NAME,
    request_type="contract_review",
    subject="LP-uv",
    requested_by="system",
    on_behalf_of=None,
    summary="look",
    changes="[]",
    reason="alerts",
    content_hash="0" * 64,
    permission="contract:deploy",
    owner="maintenance_engineer",
    wakes="maintenance-pattern/LP-uv/check_failed",
    status="open",
    expires_at=FOREVER,
)


class TestAnApprovalThatEndedWithoutItsReviewHearingOfIt:
    async def test_is_unheard_until_the_review_has_ended(self, engine: AsyncEngine, ledger: Ledger) -> None:
        async def unheard_after(key: str, change: Change) -> list[str]:
            entry = LedgerEntry(idempotency_key=key, action_type="t", action="a", target="LP-uv", details="told")
            await ledger.record(Record(entry=entry, changes=(change,)))
            return [row["approval_id"] for row in await Approvals(engine).unheard()]

        refused = ApprovalChanged(approval_id=NAME, status=ApprovalStatus.REFUSED, ended_now=True)
        ended = ReviewEnded(review_id=NAME, status="declined", decided_by="mia", note="known", draft_version=None)
        assert await unheard_after("review", REVIEW) == []
        assert await unheard_after("approval", APPROVAL) == []
        assert await unheard_after("refused", refused) == [NAME]
        assert await unheard_after("ended", ended) == []
