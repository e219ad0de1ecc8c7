"""What becomes of the rows of alerts that teach, and of the reviews that they open."""

from typing import Literal

from schemas.base import Model, UtcDateTime


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


ChangeOfPattern = MaintenanceAlertReceived | ReviewOpened | ReviewEnded
