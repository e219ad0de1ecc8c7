"""What alerts about one contract and one issue teach (specification 3, `receive_alert` and `analyze_alert_patterns`).

Three that happened within the window open a review: of the equipment where all are of one node, of the contract where
they are of several. An alert counts once, by its ID, and for one review. It counts when it happened: one that comes
late, but not later than the window is long, counts as if it had come at once; one that comes later still is written
down and counts no more. So the order in which alerts come makes no difference.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field

from schemas import names
from schemas.approval import ApprovalRequest, ApprovalStatus, ApprovalType, Difference
from schemas.base import Identifier, Model, Text, UtcDateTime, excerpt, timestamp
from schemas.maintenance import Version
from schemas.maintenance_alert import TeachingAlert
from schemas.maintenance_version import ContractChange

ENOUGH = 3
"""Alerts that open a review (specification 3, `receive_alert`)."""

WAITING = 200
"""Alerts that wait at most; a review that lists more is read by nobody."""

KNOWN = 5000
"""Alerts that are recognised when they come again."""

TEACHES = ("check_type", "rule", "unit", "value")
"""What of an alert's data a proposal follows from; all of it is in its row."""

LONGEST = 100
"""Characters of these: nothing of a contract is longer."""

ASKED_BY = "system"

PATTERNS = "alert_patterns"
"""What an analysis is about (specification 3, `analyze_alert_patterns`)."""

COUNTING, REVIEWING = "counting", "review"
"""What a pattern is doing, as people see it."""


class ReviewStatus(StrEnum):
    """Open, or how it ended. Expired and cancelled change nothing, as declined does."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


ENDS: dict[ApprovalStatus, ReviewStatus] = {
    ApprovalStatus.APPROVED: ReviewStatus.ACCEPTED,
    ApprovalStatus.REFUSED: ReviewStatus.DECLINED,
    ApprovalStatus.EXPIRED: ReviewStatus.EXPIRED,
    ApprovalStatus.CANCELLED: ReviewStatus.CANCELLED,
}


def taught(alert: TeachingAlert) -> TeachingAlert:
    """With only what is needed of it later: patterns are kept, and travel, as a whole."""
    data = {name: alert.data[name] for name in TEACHES if name in alert.data and len(alert.data[name]) <= LONGEST}
    return alert.model_copy(update={"data": data})


class Finding(Model):
    """Alerts that give reason for a review, the oldest first."""

    review_type: ApprovalType
    alerts: tuple[TeachingAlert, ...]

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(sorted({alert.node_id for alert in self.alerts}))

    @property
    def equipment_ids(self) -> tuple[str, ...]:
        return tuple(sorted({alert.equipment_id for alert in self.alerts}))


def windows(alerts: Iterable[TeachingAlert], window: timedelta) -> Iterator[tuple[TeachingAlert, ...]]:
    """For each alert, those that happened within the window that it ends; its edge belongs to it. The newest first."""
    ordered = sorted(alerts, key=lambda alert: (alert.happened_at, alert.alert_id))
    for number in range(len(ordered), 0, -1):
        begins = ordered[number - 1].happened_at - window
        yield tuple(alert for alert in ordered[:number] if alert.happened_at >= begins)


def gravest(alerts: Iterable[TeachingAlert], window: timedelta) -> Finding | None:
    """What a review is needed for; a contract's before an equipment's, and the newest before older ones."""
    found = [each for each in windows(alerts, window) if len(each) >= ENOUGH]
    for each in found:
        if len({alert.node_id for alert in each}) > 1:
            return Finding(review_type=ApprovalType.CONTRACT_REVIEW, alerts=each)
    return Finding(review_type=ApprovalType.EQUIPMENT_REVIEW, alerts=found[0]) if found else None


class ContractAsked(Model):
    """Which contract is meant."""

    contract_id: Identifier


class EntryAsked(Model):
    """Which entry is meant, by its idempotency key."""

    key: str


class PatternAsked(Model):
    """What is recorded of a pattern, as of that time."""

    contract_id: Identifier
    issue_type: Identifier
    window_seconds: int
    at: UtcDateTime


class ContractExecuted(Model):
    """The version of a contract that nodes execute, or are about to."""

    version: Version
    document: dict[str, Any]


class Proposal(Model):
    """What would be changed; `advice` says what to do beside it, or why nothing is proposed."""

    parent_version: Version | None = None
    changes: tuple[ContractChange, ...] = ()
    advice: Text


class Review(Model):
    """Asks an engineer; answered by an approval of the same ID."""

    review_id: Identifier
    contract_id: Identifier
    issue_type: Identifier
    finding: Finding
    proposal: Proposal

    @property
    def request(self) -> ApprovalRequest:
        """The approval that decides it: what would change, with the alerts behind it."""
        finding, proposal = self.finding, self.proposal
        changes = tuple(change.shown for change in proposal.changes)
        where = f"{len(finding.alerts)} alerts of {', '.join(finding.node_ids)}"
        seen = f"{where} about {', '.join(finding.equipment_ids)}"
        return ApprovalRequest(
            approval_id=self.review_id,
            request_type=finding.review_type,
            subject=self.contract_id,
            requested_by=ASKED_BY,
            changes=changes or (Difference(field=self.contract_id, before=None, after=proposal.advice),),
            reason=excerpt(f"{self.issue_type}: {seen}. {proposal.advice}"),
            wakes=names.maintenance_pattern_id(self.contract_id, self.issue_type),
        )


def analysis(review: Review) -> dict[str, Any]:
    """What is written down of it (specification 3, `analyze_alert_patterns`): a pattern is critical over two nodes."""
    finding, contract_id = review.finding, review.contract_id
    pattern = f"{contract_id}:{review.issue_type}"
    over_nodes = finding.review_type is ApprovalType.CONTRACT_REVIEW
    critical = {
        "pattern": pattern,
        "count": len(finding.alerts),
        "affected_nodes": len(finding.node_ids),
        "first_seen": timestamp(finding.alerts[0].happened_at),
    }
    update = {
        "contract_id": contract_id,
        "reason": f"Pattern {pattern} occurred {len(finding.alerts)} times",
        "action": "create_new_version",
    }
    return {
        "contract_id": contract_id,
        "total_alerts": len(finding.alerts),
        "unique_patterns": 1,
        "critical_patterns": [critical] if over_nodes else [],
        "recommended_updates": [update] if review.proposal.changes else [],
    }


def review_id(contract_id: str, issue_type: str, alerts: Iterable[TeachingAlert]) -> str:
    """Named by its alerts: each counts for one review only."""
    alert_ids = sorted(alert.alert_id for alert in alerts)
    return f"{contract_id[:60]}.{issue_type[:40]}.{digest(*alert_ids)[:16]}"


def digest(*alert_ids: str) -> str:
    """What stands for them where their length must not matter."""
    return hashlib.sha256("\n".join(alert_ids).encode()).hexdigest()[:32]


class PatternLife(BaseModel):
    """What is known of a pattern: mutable, and the only state of its workflow.

    `waiting` are alerts that no review has used, the last to come last; `known` says by digest of the ID when each one
    happened that may still come again. Both are bounded: they travel through continue-as-new.
    """

    waiting: list[TeachingAlert] = Field(default_factory=list)
    known: dict[str, UtcDateTime] = Field(default_factory=dict)
    review: Review | None = None

    def knows(self, alert: TeachingAlert) -> bool:
        """Whether it came before."""
        return digest(alert.alert_id) in self.known

    def take(self, alert: TeachingAlert) -> None:
        """Counts it from now on; nothing where it came before."""
        if not self.knows(alert):
            self.known[digest(alert.alert_id)] = alert.happened_at
            self.waiting = [*self.waiting, taught(alert)][-WAITING:]

    def remember(self, alert: TeachingAlert) -> None:
        """It counts no more, or counted before."""
        self.known[digest(alert.alert_id)] = alert.happened_at

    def count(self, alert: TeachingAlert, window: timedelta) -> int:
        """How many wait with it, in the window that has the most."""
        found = (each for each in windows(self.waiting, window) if any(one.alert_id == alert.alert_id for one in each))
        return max((len(each) for each in found), default=0)

    def open(self, review: Review) -> None:
        """Its alerts are used, whatever comes of it."""
        self.review = review
        used = {alert.alert_id for alert in review.finding.alerts}
        self.waiting = [alert for alert in self.waiting if alert.alert_id not in used]

    def forget(self, window: timedelta, at: datetime) -> None:
        """What nothing can be counted with any more: a late one is a window old at most, and looks back another."""
        self.waiting = [alert for alert in self.waiting if alert.happened_at >= at - 2 * window]
        recent = sorted((item for item in self.known.items() if item[1] >= at - 2 * window), key=lambda item: item[1])
        self.known = dict(recent[-KNOWN:])

    def forgotten_at(self, window: timedelta) -> datetime | None:
        """When `forget` will have left nothing; None where there is nothing already."""
        newest = max(self.known.values(), default=None)
        return newest and newest + 2 * window


class PatternStart(Model):
    """Input of a `MaintenancePatternWorkflow`; `window_seconds` is how far alerts of one review lie apart at most.

    `since` is when this life of the entity began; `life` and `signals` travel with it through continue-as-new.
    """

    contract_id: Identifier
    issue_type: Identifier
    window_seconds: Annotated[int, Field(ge=1)]
    since: UtcDateTime | None = None
    life: PatternLife | None = None
    signals: int = 0

    @property
    def window(self) -> timedelta:
        return timedelta(seconds=self.window_seconds)
