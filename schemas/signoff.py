"""Sign-offs: who signs what, in which role, with which qualification, for exactly which content."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas import names
from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.canonical import document_hash
from schemas.decision import Wanted
from schemas.permission import Permission
from schemas.test_results import Begun, CurrentResult


class Meaning(StrEnum):
    """What a signature says (21 CFR 11.50)."""

    PERFORMED = "performed"
    REVIEWED = "reviewed"
    APPROVED = "approved"


class SignOffDecision(StrEnum):
    """A rejected sign-off sends the test back for rework."""

    SIGN = "sign"
    REJECT = "reject"


class SignOff(Model):
    """A signature that counts: by whom, in which role, for exactly which content. `proof` is its decision token."""

    test_id: Identifier
    role: str
    person: Identifier
    meaning: Meaning
    content_hash: str
    signed_at: UtcDateTime
    qualification: str | None
    proof: str


class Qualification(Model):
    """One certificate of a person (NAS 410, EN 4179): a method, the level held, from when until when, both included."""

    method: Text
    level: Annotated[int, Field(ge=1, le=3)]
    certificate: Text
    valid_from: date
    valid_until: date

    def holds(self, method: str, level: int, on: date) -> bool:
        return self.method == method and self.level >= level and self.valid_from <= on <= self.valid_until


class QualificationCheck(Model):
    """Whether this person may sign in this role for a test of this method that was begun then."""

    person: Identifier
    role: str
    method: str
    at: UtcDateTime


class QualificationAnswer(Model):
    """The certificate that counts (None where the role needs none), or why there is none."""

    certificate: str | None = None
    refusal: str | None = None


def signed_content(smart_contract_id: str, begun: Begun, current: CurrentResult) -> str:
    """SHA-256 (hex, RFC 8785) over one test's results and what was frozen when it began."""
    return document_hash(
        {
            "smart_contract_id": smart_contract_id,
            "begun": begun.model_dump(mode="json"),
            **current.model_dump(mode="json"),
        }
    )


def signoff_wanted(smart_contract_id: str, content_hash: str) -> Wanted:
    """A sign-off of exactly this content."""
    return Wanted(
        workflow_id=names.test_execution_id(smart_contract_id),
        content_hash=content_hash,
        decisions=tuple(decision.value for decision in SignOffDecision),
        permission=Permission.TEST_SIGN,
    )


class Sign(Model):
    """What a person decides over HTTP on what they see: `content_hash` says what that was."""

    test_id: Identifier
    decision: SignOffDecision
    meaning: Meaning | Literal["rejected"]
    content_hash: str
    reason: Annotated[Text | None, Field(validate_default=True)] = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        rejects = self.decision is SignOffDecision.REJECT
        if rejects != (self.meaning == "rejected"):
            raise ValueError("a signature means performed, reviewed or approved, a rejection means rejected")
        if rejects and self.reason is None:
            raise ValueError("reason: say why, so that it can be mended")
        return self
