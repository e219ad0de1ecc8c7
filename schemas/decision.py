"""A person's decision, carried by a token that counts once (design, "Decisions of people").

The token is a JWS over what is decided, by whom, with which meaning. It is not the bearer token: it is worthless for
anything else, so that it can stand in a history, and in the ledger as the proof of the decision.
"""

from datetime import datetime, timedelta

from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.canonical import document_hash
from schemas.permission import Permission, Role, may


class Decision(Model):
    """What a decision token says. `auth_time` is when the person last logged in."""

    token_id: str
    workflow_id: str
    content_hash: str
    decision: Text
    meaning: Text
    person: Identifier
    role: Role
    auth_time: UtcDateTime
    issued_at: UtcDateTime
    expires_at: UtcDateTime


class Wanted(Model):
    """The decision that a workflow waits for: any of `decisions` on this content, by somebody who may.

    `signs_record` says that it is a signature: then the person must have logged in lately.
    """

    workflow_id: str
    content_hash: str
    decisions: tuple[str, ...]
    permission: Permission
    signs_record: bool = True

    def needs_login(self, auth_time: datetime, issued_at: datetime, login_lasts: timedelta) -> bool:
        """Whether whoever logged in then must do so again before they decide."""
        return self.signs_record and issued_at - auth_time > login_lasts


class DecisionCheck(Model):
    """A token, the decision that it should be, and when it came in."""

    token: str
    wanted: Wanted
    at: UtcDateTime


class Verdict(Model):
    """What verifying a token gives: the decision, where its signature is good, and why it does not count, if so."""

    decision: Decision | None = None
    refusal: str | None = None

    @property
    def person(self) -> str:
        """Who decided, as far as that is known for certain."""
        return self.decision.person if self.decision else "unidentified"


def content_hash(subject: str, **content: str | int | None) -> str:
    """The hash of what a decision is about, where that has no document of its own."""
    return document_hash({"subject": subject, **content})


def refusal(decision: Decision, wanted: Wanted, *, at: datetime, login_lasts: timedelta) -> str | None:
    """Why a token with a good signature does not count here and now; None where it does."""
    if decision.workflow_id != wanted.workflow_id:
        return f"it is a decision for {decision.workflow_id}, not for {wanted.workflow_id}"
    if decision.content_hash != wanted.content_hash:
        return "it decides on other content than what is asked now: look at it again and decide anew"
    if decision.decision not in wanted.decisions:
        return f"`{decision.decision}` cannot be decided here, only {' or '.join(wanted.decisions)}"
    if not may(decision.role, wanted.permission):
        return f"the role {decision.role} has not the permission {wanted.permission}"
    if at >= decision.expires_at:
        return f"it expired at {decision.expires_at.isoformat()}: decide anew"
    if wanted.needs_login(decision.auth_time, decision.issued_at, login_lasts):
        return f"it signs a record, and the login of {decision.person} was too long ago: log in again"
    return None
