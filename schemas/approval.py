"""Approvals: one person asks, another one answers for exactly what was asked (specification 5, 4.4).

Four eyes: whoever asked, and on whose behalf, cannot answer. The hash of the request is what the answer is bound to.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from schemas import names
from schemas.alert import cause_of
from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.canonical import document_hash
from schemas.decision import Decision, Wanted
from schemas.permission import Permission, Role

ApprovalId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
"""Made of what it is about, so it may be longer than that."""


class ApprovalType(StrEnum):
    """What needs a second person."""

    FEWER_PARTS = "fewer_parts"
    WITHDRAWAL_AFTER_RELEASE = "withdrawal_after_release"
    CONTRACT_DEPLOYMENT = "contract_deployment"
    EQUIPMENT_REVIEW = "equipment_review"
    CONTRACT_REVIEW = "contract_review"


class ApprovalRule(Model):
    """Who may answer, who is asked first and who next, and how long each of them is waited for."""

    permission: Permission
    owners: Annotated[tuple[Role, ...], Field(min_length=1)]
    remind_after: timedelta
    escalate_after: timedelta
    expires_after: timedelta
    declined_with_reason: bool = False

    def incomplete(self, answer: "Answer", note: str | None) -> str | None:
        """Why an answer is not enough; None where it is."""
        if self.declined_with_reason and answer is Answer.REFUSE and note is None:
            return "it is declined with a reason: say why in its note"
        return None


_REVIEW = ApprovalRule(
    permission=Permission.CONTRACT_DEPLOY,
    owners=(Role.MAINTENANCE_ENGINEER, Role.QUALITY_MANAGER),
    remind_after=timedelta(days=2),
    escalate_after=timedelta(days=7),
    expires_after=timedelta(days=30),
    declined_with_reason=True,
)

RULES: dict[ApprovalType, ApprovalRule] = {
    ApprovalType.FEWER_PARTS: ApprovalRule(
        permission=Permission.DISPOSITION_DECIDE,
        owners=(Role.QUALITY_MANAGER, Role.PRODUCTION_MANAGER, Role.ADMIN),
        remind_after=timedelta(hours=4),
        escalate_after=timedelta(days=1),
        expires_after=timedelta(days=14),
    ),
    ApprovalType.WITHDRAWAL_AFTER_RELEASE: ApprovalRule(
        permission=Permission.DISPOSITION_DECIDE,
        owners=(Role.QUALITY_MANAGER, Role.PRODUCTION_MANAGER, Role.ADMIN),
        remind_after=timedelta(minutes=30),
        escalate_after=timedelta(hours=4),
        expires_after=timedelta(days=7),
    ),
    ApprovalType.CONTRACT_DEPLOYMENT: ApprovalRule(
        permission=Permission.CONTRACT_DEPLOY,
        owners=(Role.MAINTENANCE_ENGINEER, Role.QUALITY_MANAGER, Role.ADMIN),
        remind_after=timedelta(hours=8),
        escalate_after=timedelta(days=2),
        expires_after=timedelta(days=30),
    ),
    ApprovalType.EQUIPMENT_REVIEW: _REVIEW,
    ApprovalType.CONTRACT_REVIEW: _REVIEW,
}


class ApprovalStatus(StrEnum):
    """Expired and cancelled leave everything as it was, as refused does."""

    OPEN = "open"
    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Answer(StrEnum):
    """What can be decided."""

    APPROVE = "approve"
    REFUSE = "refuse"


class Difference(Model):
    """One thing that would change."""

    field: str
    before: str | int | None
    after: str | int | None

    def __str__(self) -> str:
        return f"{self.field}: {self.before} → {self.after}"


class ApprovalRequest(Model):
    """What is asked. `wakes` is the workflow that waits for the outcome."""

    approval_id: ApprovalId
    request_type: ApprovalType
    subject: str
    requested_by: Identifier
    on_behalf_of: Identifier | None = None
    changes: Annotated[tuple[Difference, ...], Field(min_length=1)]
    reason: Text
    wakes: str | None = None

    @property
    def rule(self) -> ApprovalRule:
        """Who may answer, and how long it may take."""
        return RULES[self.request_type]

    @property
    def content_hash(self) -> str:
        """What an answer answers for."""
        return document_hash(self.model_dump(mode="json", exclude={"wakes"}))

    @property
    def requesters(self) -> frozenset[str]:
        """Those who cannot answer."""
        return frozenset({self.requested_by, self.on_behalf_of or self.requested_by})

    def refusal(self, decision: Decision) -> str | None:
        """Why a verified decision does not count; None where it does."""
        if decision.person in self.requesters:
            return f"{decision.person} asked for it, so another person must answer"
        return None

    @property
    def wanted(self) -> Wanted:
        """The decision that ends it."""
        return Wanted(
            workflow_id=names.approval_workflow_id(self.approval_id),
            content_hash=self.content_hash,
            decisions=tuple(answer.value for answer in Answer),
            permission=self.rule.permission,
        )

    def __str__(self) -> str:
        return f"{self.subject}: {'; '.join(map(str, self.changes))}"


class ApprovalOutcome(Model):
    """How it ended; `decided_by` and `role` where a person answered; `wakes`, who waits, where its row is read."""

    approval_id: ApprovalId
    content_hash: str
    status: ApprovalStatus
    decided_by: Identifier | None = None
    role: Role | None = None
    note: str | None = None
    wakes: str | None = None


class Respond(Model):
    """A person's answer: the decision token, and what they want to say with it."""

    token: Annotated[str, Field(max_length=4000)]
    note: Text | None = None


class AddNote(Model):
    """Something to consider; it decides nothing."""

    note: Text
    user_id: Identifier = "unidentified"


class CancelApproval(Model):
    """Whoever asked no longer wants it."""

    reason: Text
    user_id: Identifier = "unidentified"


class ApprovalEnded(Model):
    """Wakes the workflow that asked. It says nothing more: the outcome is read where it is recorded."""

    approval_id: ApprovalId


class StepKind(StrEnum):
    """What time does to an approval that nobody answers."""

    REMIND = "remind"
    ESCALATE = "escalate"
    EXPIRE = "expire"


class TimedStep(Model):
    """One of these, when it is due, and who is its owner from then on."""

    kind: StepKind
    at: UtcDateTime
    owner: Role


class ApprovalLife(BaseModel):
    """What is known of an approval: mutable, and the only state of its workflow. `done` counts the timed steps."""

    opened_at: UtcDateTime
    done: int = 0
    tokens: list[str] = Field(default_factory=list)
    last_refusal: str | None = None
    outcome: ApprovalOutcome | None = None

    @property
    def status(self) -> ApprovalStatus:
        """Open until there is an outcome."""
        return self.outcome.status if self.outcome else ApprovalStatus.OPEN

    def refusal(self, request: ApprovalRequest, decision: Decision, note: str | None) -> str | None:
        """Why a verified decision does not count with this note; None where it does.

        One that was given in time counts though nobody could take it in at once, one that was given later does not.
        """
        expired = self.opened_at + request.rule.expires_after
        if decision.issued_at >= expired:
            return f"the approval expired at {expired.isoformat()}"
        return request.refusal(decision) or request.rule.incomplete(Answer(decision.decision), note)

    def next_step(self, rule: ApprovalRule) -> TimedStep:
        """What happens if nobody answers before."""
        return list(timed_steps(rule, self.opened_at))[self.done]

    def owner(self, rule: ApprovalRule) -> Role:
        """Who is asked now."""
        steps = list(timed_steps(rule, self.opened_at))[: self.done]
        return steps[-1].owner if steps else rule.owners[0]


def timed_steps(rule: ApprovalRule, opened_at: datetime) -> Iterator[TimedStep]:
    """Each owner is reminded once and then the next one is asked, until it expires; the last owner stays."""
    expires = opened_at + rule.expires_after
    for level, owner in enumerate(rule.owners):
        asked = opened_at + level * rule.escalate_after
        if level and asked < expires:
            yield TimedStep(kind=StepKind.ESCALATE, at=asked, owner=owner)
        if asked + rule.remind_after < expires:
            yield TimedStep(kind=StepKind.REMIND, at=asked + rule.remind_after, owner=owner)
        last = owner
    yield TimedStep(kind=StepKind.EXPIRE, at=expires, owner=last)


_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def waiting_causes(approval_id: str, rule: ApprovalRule) -> list[str]:
    """The causes of the alerts that an approval may have raised while it waited: one for each who was asked."""
    steps = enumerate(timed_steps(rule, _ANY_TIME), start=1)
    return [waiting_cause(approval_id, what) for what in ("open", *(f"{step.kind}:{n}" for n, step in steps))]


def waiting_cause(approval_id: str, what: str) -> str:
    """An approval is open, somebody was reminded of it, or somebody else is asked: `open`, `remind:1`, `escalate:2`."""
    return cause_of("approval_waits", approval_id, what)


class ApprovalStart(Model):
    """Input of an `ApprovalWorkflow`; `life` and `signals` travel through continue-as-new."""

    request: ApprovalRequest
    life: ApprovalLife | None = None
    signals: int = 0
