"""The test of a released contract: equipment, results, sign-offs (specification 2, "all signoffs complete").

Results and sign-offs are keyed by `test_id`. Every submission of results is a *revision* of the contract's results and
replaces those of the tests that it names; their sign-offs are void from then on, because a signature is for exactly
one content. A test counts as signed when every role that its contract requires has signed what is current.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from schemas import names
from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.canonical import document_hash
from schemas.client_po import Reasoned, Request, RequiredTest, SmartClientPO
from schemas.decision import Decision, Wanted
from schemas.permission import Permission


class TestStatus(StrEnum):
    """Where a test stands. `rework` waits for results again, because a person refused those that were there."""

    __test__ = False

    WAITING = "waiting"
    BLOCKED = "blocked"
    RUNNING = "running"
    AWAITING_SIGNOFF = "awaiting_signoff"
    REWORK = "rework"
    HOLD = "hold"
    AUTHORIZING = "authorizing"
    AUTHORIZED = "authorized"
    ABORTED = "aborted"


TERMINAL = frozenset({TestStatus.AUTHORIZED, TestStatus.ABORTED})


class TestVerdict(StrEnum):
    """What a test found."""

    __test__ = False

    ACCEPT = "accept"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class Meaning(StrEnum):
    """What a signature says (21 CFR 11.50)."""

    PERFORMED = "performed"
    REVIEWED = "reviewed"
    APPROVED = "approved"


class SignOffDecision(StrEnum):
    """A rejected sign-off sends the test back for rework."""

    SIGN = "sign"
    REJECT = "reject"


def _exact(value: object) -> object:
    if isinstance(value, float):
        raise ValueError("write measured values as text, so that no digit is lost or made up")
    return value


Measured = Annotated[Decimal, BeforeValidator(_exact), Field(allow_inf_nan=False, max_digits=40)]
"""Exact; on the wire as text."""


class Reading(Model):
    """One measured value with its unit (`1` where it has none)."""

    name: Text
    value: Measured
    unit: Text


class TestResult(Model):
    """What one test gave, and the performer's own word on how it was done."""

    __test__ = False

    test_id: Identifier
    verdict: TestVerdict
    readings: tuple[Reading, ...] = ()
    observations: Text | None = None
    procedure_followed: bool
    deviations: Annotated[Text | None, Field(validate_default=True)] = None

    @model_validator(mode="after")
    def _is_evidence(self) -> Self:
        if not self.readings and self.observations is None:
            raise ValueError("give readings or observations: a bare verdict is no evidence")
        if not self.procedure_followed and self.deviations is None:
            raise ValueError("say in `deviations` how the test departed from its procedure")
        return self


class Instrument(Model):
    """An instrument as it stood in the register when the test began. Dates are those of the node."""

    equipment_id: Identifier
    equipment_type: Identifier
    certificate: Text
    calibrated_on: date
    due_on: date


class Begun(Model):
    """What is frozen for the results when a test begins: who, with what, by which document, when."""

    performer: Identifier
    started_at: UtcDateTime
    instruments: tuple[Instrument, ...]
    document_hash: str


class BeginTest(Model):
    """Asks a node to begin: its gate looks at the equipment that the contract needs and the performer names."""

    smart_contract_id: Identifier
    performer: Identifier
    instruments: tuple[Identifier, ...]
    at: UtcDateTime


class GateAnswer(Model):
    """Begun, or everything that is missing, in words."""

    begun: Begun | None = None
    missing: tuple[str, ...] = ()


class Results(Model):
    """One submission; tests that it does not name keep what they had."""

    results: Annotated[tuple[TestResult, ...], Field(min_length=1, max_length=200)]

    @field_validator("results")
    @classmethod
    def _each_once(cls, results: tuple[TestResult, ...]) -> tuple[TestResult, ...]:
        if len({result.test_id for result in results}) < len(results):
            raise ValueError("each test_id stands once in a submission")
        return results

    def content_hash(self, smart_contract_id: str) -> str:
        """What the performer declares."""
        return document_hash({"smart_contract_id": smart_contract_id, **self.model_dump(mode="json")})


class KeptResults(Model):
    """A revision of a contract's results, as the node keeps its own copy."""

    smart_contract_id: Identifier
    revision: int
    begun: Begun
    results: tuple[TestResult, ...]
    submitted_by: Identifier
    submitted_at: UtcDateTime


# --- what a test is told ---------------------------------------------------------------------------------------------


class StartRequest(Request):
    """Names who performs the test and with which instruments; the gate decides."""

    reason: Text = "test"
    performer: Identifier
    instruments: Annotated[tuple[Identifier, ...], Field(max_length=100)]


class SubmitRequest(Results):
    """Results, with the decision token by which the performer declares them."""

    token: str | None = None


class SignOffRequest(Model):
    """A decision on the current results of one test; `reason` is needed for a rejection."""

    test_id: Identifier
    token: str | None = None
    reason: Text | None = None


class HoldRequest(Request):
    """Nothing is measured or signed until it is resumed."""


class ResumeRequest(Request):
    """Ends a hold."""


class AbortRequest(Request):
    """Ends the test without results."""


class Disposed(Model):
    """Wakes a test whose results were not accepted: their disposition is there, and read where it is recorded."""

    package_id: str


REQUESTS: dict[str, type[BaseModel]] = {
    names.START: StartRequest,
    names.SUBMIT_RESULTS: SubmitRequest,
    names.SIGN_OFF: SignOffRequest,
    names.HOLD: HoldRequest,
    names.RESUME: ResumeRequest,
    names.ABORT: AbortRequest,
}


# --- sign-offs -------------------------------------------------------------------------------------------------------


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


# --- the life of a test ----------------------------------------------------------------------------------------------


class CurrentResult(BaseModel):
    """The results of one test that count, and the revision in which they came."""

    result: TestResult
    revision: int


class TestLife(BaseModel):
    """What is known of a test: mutable, and the only state of its workflow. `revision` counts the submissions."""

    __test__ = False

    begun: Begun | None = None
    missing: tuple[str, ...] = ()
    current: dict[str, CurrentResult] = Field(default_factory=dict)
    revision: int = 0
    signoffs: list[SignOff] = Field(default_factory=list)
    rework_reason: str | None = None
    hold_reason: str | None = None
    package_id: str | None = None
    replaces: str | None = None
    aborted: bool = False
    tokens: list[str] = Field(default_factory=list)
    last_refusal: str | None = None

    def status(self, po: SmartClientPO) -> TestStatus:
        """Derived: the first of these that holds."""
        if self.aborted:
            return TestStatus.ABORTED
        if self.package_id is not None:
            return TestStatus.AUTHORIZED
        if self.hold_reason is not None:
            return TestStatus.HOLD
        if self.begun is None:
            return TestStatus.BLOCKED if self.missing else TestStatus.WAITING
        if self.rework_reason is not None:
            return TestStatus.REWORK
        if len(self.current) < len(po.tests):
            return TestStatus.RUNNING
        return TestStatus.AWAITING_SIGNOFF if self.open_signoffs(po) else TestStatus.AUTHORIZING

    def content_hash(self, smart_contract_id: str, test_id: str) -> str | None:
        """What a sign-off of this test signs; None while it has no results."""
        if self.begun is None or (current := self.current.get(test_id)) is None:
            return None
        return signed_content(smart_contract_id, self.begun, current)

    def submit(self, submission: Iterable[TestResult]) -> list[SignOff]:
        """Takes results as a new revision; returns the sign-offs that are void now."""
        self.revision += 1
        self.rework_reason = None
        changed = {result.test_id: CurrentResult(result=result, revision=self.revision) for result in submission}
        self.current |= changed
        void = [signoff for signoff in self.signoffs if signoff.test_id in changed]
        self.signoffs = [signoff for signoff in self.signoffs if signoff.test_id not in changed]
        return void

    def reject(self, test_id: str, reason: str) -> list[SignOff]:
        """Takes a test's results away; returns the sign-offs that are void now."""
        self.rework_reason = reason
        self.current.pop(test_id, None)
        void = [signoff for signoff in self.signoffs if signoff.test_id == test_id]
        self.signoffs = [signoff for signoff in self.signoffs if signoff.test_id != test_id]
        return void

    def open_signoffs(self, po: SmartClientPO) -> list[tuple[str, str]]:
        """Test and role of what is not signed yet, in the order of the contract."""
        signed = {(signoff.test_id, signoff.role) for signoff in self.signoffs}
        return [
            (test.test_id, role)
            for test in po.tests
            for role in test.required_signoffs
            if (test.test_id, role) not in signed
        ]

    def signoff_refusal(self, test: RequiredTest, decision: Decision) -> str | None:
        """Why a verified decision on current content does not count as a sign-off; None where it does."""
        if decision.role not in test.required_signoffs:
            return f"{test.test_id} needs no sign-off of a {decision.role}, only of {', '.join(test.required_signoffs)}"
        for signoff in self.signoffs:
            if signoff.test_id != test.test_id:
                continue
            if signoff.person == decision.person:
                return f"{decision.person} has signed {test.test_id} as {signoff.role} already"
            if signoff.role == decision.role:
                return f"{signoff.person} has signed {test.test_id} as {signoff.role} already"
        if decision.decision == SignOffDecision.SIGN and decision.meaning not in set(Meaning):
            return f"a signature means {', '.join(Meaning)}, not {decision.meaning!r}"
        return None


def signed_content(smart_contract_id: str, begun: Begun, current: CurrentResult) -> str:
    """SHA-256 (hex, RFC 8785) over one test's results and what was frozen when it began."""
    return document_hash(
        {
            "smart_contract_id": smart_contract_id,
            "begun": begun.model_dump(mode="json"),
            **current.model_dump(mode="json"),
        }
    )


REMIND_AFTER = timedelta(hours=4)
"""A sign-off that nobody gave is reminded of."""

ESCALATE_AFTER = timedelta(days=1)
"""And then it is the production manager's."""


class TestExecutionStart(Model):
    """Input: the contract, its node and the receipt that the node gave for it.

    `document` is left out in runs that were started before a test could be performed: they only wait, as they did.
    `life` and `signals` travel through continue-as-new.
    """

    __test__ = False

    smart_contract_id: str
    node_id: str
    receipt_hash: str
    document: dict[str, Any] | None = None
    document_hash: str | None = None
    life: TestLife | None = None
    signals: int = 0


def results_wanted(smart_contract_id: str, content_hash: str) -> Wanted:
    """The declaration by which a performer gives results."""
    return Wanted(
        workflow_id=names.test_execution_id(smart_contract_id),
        content_hash=content_hash,
        decisions=(names.SUBMIT_RESULTS,),
        permission=Permission.TEST_PERFORM,
        signs_record=False,
    )


def signoff_wanted(smart_contract_id: str, content_hash: str) -> Wanted:
    """A sign-off of exactly this content."""
    return Wanted(
        workflow_id=names.test_execution_id(smart_contract_id),
        content_hash=content_hash,
        decisions=tuple(decision.value for decision in SignOffDecision),
        permission=Permission.TEST_SIGN,
    )


class Start(Reasoned):
    """What a person asks over HTTP: to begin, as performer unless another one is named."""

    reason: Text = "test"
    performer: Identifier | None = None
    instruments: Annotated[tuple[Identifier, ...], Field(max_length=100)]


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
