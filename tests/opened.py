"""Rows of approvals and reviews as their workflows open them."""

from datetime import UTC, datetime
from typing import Any

from schemas.changes.approval import ApprovalOpened
from schemas.changes.maintenance_pattern import ReviewOpened

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


def opened_approval(approval_id: str, **fields: Any) -> ApprovalOpened:
    """Somebody asks for fewer parts, and nobody is waiting for the answer."""
    values = {
        "request_type": "fewer_parts",
        "subject": "SC-1",
        "requested_by": "maria",
        "on_behalf_of": None,
        "summary": "fewer",
        "changes": "[]",
        "reason": "the client needs them",
        "content_hash": "0" * 64,
        "permission": "disposition:decide",
        "owner": "quality_manager",
        "wakes": None,
        "status": "open",
        "expires_at": FOREVER,
    }
    return ApprovalOpened.model_validate({"approval_id": approval_id, **values, **fields})


def opened_review(review_id: str, **fields: Any) -> ReviewOpened:
    """Of a contract whose checks failed, without what it proposes."""
    values = {
        "review_type": "contract_review",
        "contract_id": "LP-uv",
        "version": "1.0",
        "issue_type": "check_failed",
        "alert_ids": "[]",
        "node_ids": "[]",
        "proposed": "{}",
        "approval_id": review_id,
    }
    return ReviewOpened.model_validate({"review_id": review_id, **values, **fields})
